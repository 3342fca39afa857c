// What the kernels share: eight neighbouring values at once, and sums over a block.
//
// Values are bf16; all arithmetic is f32, rounded once.
#pragma once

#include <cuda_bf16.h>
#include <stdint.h>

using bf16 = __nv_bfloat16;

const unsigned WARP = 32;

// Eight neighbouring bf16 values: the 16 bytes that are moved at once.
using Chunk = uint4;
const int CHUNK = 8;

#ifdef __CUDACC__

// Two values, the first one in the lower half.
__device__ uint32_t packed(float first, float second) {
    uint32_t out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(second), "f"(first));
    return out;
}

#else

inline uint32_t packed(bf16 first, bf16 second) { return first.bits | (uint32_t)second.bits << 16; }
inline uint32_t packed(float first, float second) { return packed(bf16(first), bf16(second)); }

#endif

__device__ inline float first_of(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float second_of(uint32_t pair) { return __uint_as_float(pair & 0xffff0000); }

// A chunk, as f32.
struct Eight {
    float at[CHUNK];
};

__device__ inline Eight unpacked(Chunk chunk) {
    return {first_of(chunk.x), second_of(chunk.x), first_of(chunk.y), second_of(chunk.y),
            first_of(chunk.z), second_of(chunk.z), first_of(chunk.w), second_of(chunk.w)};
}

__device__ inline Chunk packed(Eight eight) {
    const float *at = eight.at;
    return {packed(at[0], at[1]), packed(at[2], at[3]), packed(at[4], at[5]), packed(at[6], at[7])};
}

// The sum over the block, which has whole warps, for each of its threads.
__device__ inline float block_sum(float value) {
    __shared__ float sums[WARP];
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        value += __shfl_xor_sync(0xffffffff, value, mask);
    }
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = value;
    __syncthreads();
    value = 0.0f;
    for (unsigned warp = 0; warp < blockDim.x / WARP; warp++) value += sums[warp];
    __syncthreads();
    return value;
}
