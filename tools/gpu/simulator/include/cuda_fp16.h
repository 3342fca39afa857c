// Half precision as the card has it: each operation rounds once.
#pragma once
#include "device.h"

struct __half {
    _Float16 v;
    __half() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> __half(T x) : v((_Float16)x) {}
    operator float() const { return (float)v; }
    explicit operator double() const { return (double)v; }
    explicit operator int() const { return (int)v; }
    explicit operator unsigned char() const { return (unsigned char)v; }
    explicit operator unsigned() const { return (unsigned)v; }
    explicit operator long() const { return (long)v; }
};
using half = __half;
#define HALF_OP(TYPE, OP) \
    inline TYPE operator OP(TYPE a, TYPE b) { return TYPE((float)a OP (float)b); } \
    inline TYPE &operator OP##=(TYPE &a, TYPE b) { return a = a OP b; }
#define HALF_COMPARE(TYPE, OP) inline bool operator OP(TYPE a, TYPE b) { return (float)a OP (float)b; }
#define HALF_OPS(TYPE) \
    HALF_OP(TYPE, +) HALF_OP(TYPE, -) HALF_OP(TYPE, *) HALF_OP(TYPE, /) \
    HALF_COMPARE(TYPE, <) HALF_COMPARE(TYPE, >) HALF_COMPARE(TYPE, <=) HALF_COMPARE(TYPE, >=) \
    HALF_COMPARE(TYPE, ==) HALF_COMPARE(TYPE, !=) \
    inline TYPE operator-(TYPE a) { return TYPE(-(float)a); } \
    inline bool __hisnan(TYPE a) { return std::isnan((float)a); } \
    inline TYPE hsqrt(TYPE a) { return TYPE(sqrtf(a)); } \
    inline TYPE hcos(TYPE a) { return TYPE(cosf(a)); } \
    inline TYPE hsin(TYPE a) { return TYPE(sinf(a)); } \
    inline TYPE hlog(TYPE a) { return TYPE(logf(a)); } \
    inline TYPE hexp(TYPE a) { return TYPE(expf(a)); } \
    inline TYPE __habs(TYPE a) { return TYPE(fabsf(a)); } \
    inline TYPE __hmax_nan(TYPE a, TYPE b) { return __hisnan(a) ? a : __hisnan(b) || b > a ? b : a; } \
    inline TYPE __hmin_nan(TYPE a, TYPE b) { return __hisnan(a) ? a : __hisnan(b) || b < a ? b : a; }
HALF_OPS(__half)

inline float __half2float(__half a) { return (float)a; }
inline __half __float2half(float a) { return __half(a); }
inline unsigned short __half_as_ushort(__half a) { unsigned short bits; memcpy(&bits, &a, 2); return bits; }
inline __half __ushort_as_half(unsigned short bits) { __half a; memcpy(&a, &bits, 2); return a; }

struct half2 {
    __half x, y;
    half2() = default;
    half2(__half a, __half b) : x(a), y(b) {}
    half2(float a, float b) : x(a), y(b) {}
};
inline float2 __half22float2(half2 a) { return {(float)a.x, (float)a.y}; }
inline half2 __hmul2(half2 a, half2 b) { return {a.x * b.x, a.y * b.y}; }
inline half2 __floats2half2_rn(float a, float b) { return {a, b}; }
inline half2 make_half2(__half a, __half b) { return {a, b}; }
inline __half __low2half(half2 a) { return a.x; }
inline __half __high2half(half2 a) { return a.y; }
inline float __low2float(half2 a) { return a.x; }
inline float __high2float(half2 a) { return a.y; }
