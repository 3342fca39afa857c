// What CUDA C++ takes for granted, on the host: one thread of a block runs until it waits for the others.
#pragma once
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <vector>

#ifndef __global__
#define __global__
#endif
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __constant__
#define __grid_constant__
#define __restrict__ __restrict
#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

using std::isnan;
using std::signbit;

struct dim3 { unsigned x, y, z; };
struct float2 { float x, y; };
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };
struct char4 { signed char x, y, z, w; };
struct uchar4 { unsigned char x, y, z, w; };
struct int2 { int x, y; };
struct __attribute__((aligned(16))) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;
/// Returns when all threads of the block have come here.
void __syncthreads();
constexpr unsigned WARP_THREADS = 32;
/// What one thread hands to the others of its warp.
struct Handed {
    alignas(16) unsigned char bytes[32];
    template <class T> const T &as() const { return *(const T *)bytes; }
};
/// The thread's place in its warp.
unsigned lane();
/// What the threads of the warp hand in, by lane, until this thread waits again.
const Handed *of_warp(const void *value, size_t bytes);
template <class T> const Handed *of_warp(const T &value) {
    static_assert(sizeof(T) <= sizeof(Handed));
    return of_warp(&value, sizeof(T));
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
    return of_warp(value)[lane() ^ mask].template as<T>();
}
template <class T> T __shfl_sync(unsigned, T value, int from) { return of_warp(value)[from].template as<T>(); }
/// Begins to copy to memory of the block; zeros, where there is no `from`.
void copy_async(void *to, const void *from, size_t bytes);
/// Makes a group of the copies that the thread has begun.
void end_copies();
/// Returns when all of the thread's groups but the `later` last ones are copied.
void await_copies(unsigned later);
/// Returns when it is so, which other warps bring about.
void wait_until(std::function<bool()> awaited);
/// Begins what is done as late as it may be, when this thread awaits it.
void begin_product(std::function<void()> product);
void await_all_products();
/// Begins a copy that is made when somebody lets arrive what is to arrive there, or else at once.
void begin_arriving(const void *at, std::function<void()> copy);
void let_arrive(const void *at);
/// A tensor of four dimensions, the first one contiguous, of values of 2 bytes, and the tiles of it that are copied at once.
struct TileMap {
    const char *values;
    uint64_t sizes[4], steps_bytes[4];
    uint32_t tile[4];
};

inline unsigned __float_as_uint(float a) { unsigned bits; memcpy(&bits, &a, 4); return bits; }
inline float __uint_as_float(unsigned bits) { float a; memcpy(&a, &bits, 4); return a; }
inline int __float_as_int(float a) { return (int)__float_as_uint(a); }
inline float __int_as_float(int bits) { return __uint_as_float((unsigned)bits); }
inline long long __double_as_longlong(double a) { long long bits; memcpy(&bits, &a, 8); return bits; }
inline double __longlong_as_double(long long bits) { double a; memcpy(&a, &bits, 8); return a; }
template <class T, class V> T atomicAdd(T *to, V value) { T old = *to; *to = (T)(old + (T)value); return old; }
template <class T, class V> T atomicMax(T *to, V value) { T old = *to; if (value > old) *to = value; return old; }
template <class T, class V> T atomicMin(T *to, V value) { T old = *to; if (value < old) *to = value; return old; }
template <class T> T atomicCAS(T *to, T compare, T value) { T old = *to; if (old == compare) *to = value; return old; }
inline float normcdff(float a) { return 0.5f * erfcf(-a * 0.70710678118654752f); }
inline double normcdf(double a) { return 0.5 * erfc(-a * 0.70710678118654752); }
inline float rsqrtf(float a) { return 1.0f / sqrtf(a); }
inline double rsqrt(double a) { return 1.0 / sqrt(a); }
template <class T> T __ldg(const T *from) { return *from; }
#define __expf(a) expf(a)
inline float __fdividef(float a, float b) { return a / b; }
inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 4; i++) c += (int)(signed char)(a >> 8 * i) * (int)(signed char)(b >> 8 * i);
    return c;
}
inline int __vsubss4(int a, int b) {
    unsigned out = 0;
    for (int i = 0; i < 4; i++) {
        int d = (int)(signed char)(a >> 8 * i) - (int)(signed char)(b >> 8 * i);
        out |= (unsigned)(unsigned char)std::clamp(d, -128, 127) << 8 * i;
    }
    return (int)out;
}
template <class A, class B, class C = std::common_type_t<A, B>> C min(A a, B b) { return (C)a < (C)b ? a : b; }
template <class A, class B, class C = std::common_type_t<A, B>> C max(A a, B b) { return (C)a > (C)b ? a : b; }

/// A kernel by its name: takes the launch's parameters and gives what runs one thread.
using Thread = std::function<void()>;
using Binder = std::function<Thread(void **)>;
void register_kernel(const char *name, bool barriers, Binder binder);

template <class... A, size_t... I> Thread bind_params(void (*kernel)(A...), void **params, std::index_sequence<I...>) {
    auto values = std::make_tuple(*(std::remove_const_t<A> *)params[I]...);
    return [=] { std::apply(kernel, values); };
}
template <class... A> struct Registered {
    Registered(const char *name, bool barriers, void (*kernel)(A...)) {
        register_kernel(name, barriers, [kernel](void **params) {
            return bind_params(kernel, params, std::index_sequence_for<A...>{});
        });
    }
};
