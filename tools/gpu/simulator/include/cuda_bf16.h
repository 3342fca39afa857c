#pragma once
#include "cuda_fp16.h"

struct __nv_bfloat16 {
    unsigned short bits;
    __nv_bfloat16() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> __nv_bfloat16(T x) : bits(rounded((float)x)) {}
    operator float() const { return __uint_as_float((unsigned)bits << 16); }
    explicit operator double() const { return (float)*this; }
    explicit operator int() const { return (int)(float)*this; }
    explicit operator unsigned char() const { return (unsigned char)(float)*this; }
    explicit operator unsigned() const { return (unsigned)(float)*this; }
    explicit operator long() const { return (long)(float)*this; }
    /// To the nearest, to the even one of two.
    static unsigned short rounded(float x) {
        unsigned word = __float_as_uint(x);
        if (std::isnan(x)) return 0x7fff;
        return (word + 0x7fff + (word >> 16 & 1)) >> 16;
    }
};
HALF_OPS(__nv_bfloat16)
inline float __bfloat162float(__nv_bfloat16 a) { return (float)a; }
inline __nv_bfloat16 __float2bfloat16(float a) { return __nv_bfloat16(a); }
inline __nv_bfloat16 __float2bfloat16_rn(float a) { return __nv_bfloat16(a); }
struct __nv_bfloat162 { __nv_bfloat16 x, y; };
inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x + b.x, a.y + b.y}; }
inline __nv_bfloat162 __hsub2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x - b.x, a.y - b.y}; }
inline __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x * b.x, a.y * b.y}; }
inline __nv_bfloat162 __h2div(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x / b.x, a.y / b.y}; }
