// The rounding of rows to eight bits: rotated as in rotation.rs, and then in 127 levels each way of
// their largest value. Rows lie as ops/int8 has them: all rows, then an f32 scale for each.
//
// Source: ConvRot, as in comfy-kitchen's int8_linear.cu. candle rounds to GGUF's blocks alone,
// whose scales overflow in this model.

#include "values.cuh"

// Neighbouring values of a row that one thread has.
const int SHARE = 16;
const float LEVELS = 127.0f;

// Multiplies every four values that lie STRIDE apart by half of the matrix that has -1 from its
// upper right to its lower left corner, and 1 elsewhere.
template <int STRIDE> __device__ void rotate_own(float (&values)[SHARE]) {
#pragma unroll
    for (int i = 0; i < SHARE / 4; i++) {
        float *first = values + i / STRIDE * 4 * STRIDE + i % STRIDE;
        float a = first[0], b = first[STRIDE], c = first[2 * STRIDE], d = first[3 * STRIDE];
        float half_sum = (a + b + c + d) / 2.0f;
        first[0] = half_sum - d;
        first[STRIDE] = half_sum - c;
        first[2 * STRIDE] = half_sum - b;
        first[3 * STRIDE] = half_sum - a;
    }
}

// The same with the values of every four threads that lie `stride` apart.
__device__ void rotate_threads(float (&values)[SHARE], int stride) {
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        float sum = values[i] + __shfl_xor_sync(0xffffffff, values[i], stride);
        sum += __shfl_xor_sync(0xffffffff, sum, 2 * stride);
        float opposite = __shfl_xor_sync(0xffffffff, values[i], 3 * stride);
        values[i] = sum / 2.0f - opposite;
    }
}

// The largest value without its sign over the block, for each of its threads. Compared as whole
// numbers, so that a NaN is the largest of all and is not lost.
__device__ float block_largest(const float (&values)[SHARE]) {
    __shared__ uint32_t of_warps[WARP];
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < SHARE; i++) bits = max(bits, __float_as_uint(values[i]) & 0x7fffffff);
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        bits = max(bits, __shfl_xor_sync(0xffffffff, bits, mask));
    }
    if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = bits;
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / WARP; warp++) bits = max(bits, of_warps[warp]);
    return __uint_as_float(bits);
}

// Four values in levels, as signed bytes, the first one lowest.
__device__ uint32_t packed_levels(const float *values, float per_level) {
    uint32_t out = 0;
    for (int i = 0; i < 4; i++) {
        int level = (int)rintf(values[i] * per_level);
        out |= (uint32_t)(level & 0xff) << 8 * i;
    }
    return out;
}

// Rounds the rows of `x`, rotated in groups of `group` values: 16, 64 or 256. Block (row), with a
// thread for each SHARE of it.
extern "C" __global__ void __launch_bounds__(1024)
    int8_rows(const bf16 *x, int8_t *out, uint32_t rows, uint32_t width, uint32_t group) {
    bool inside = threadIdx.x < width / SHARE;
    const Chunk *from = (const Chunk *)(x + (size_t)blockIdx.x * width) + 2 * threadIdx.x;
    float values[SHARE] = {};
    if (inside) {
        Eight first = unpacked(from[0]), second = unpacked(from[1]);
        for (int i = 0; i < CHUNK; i++) {
            values[i] = first.at[i], values[CHUNK + i] = second.at[i];
        }
    }
    rotate_own<1>(values);
    rotate_own<4>(values);
    if (group >= 64) rotate_threads(values, 1);
    if (group >= 256) rotate_threads(values, 4);
    float largest = block_largest(values);
    float per_level = largest > 0.0f ? LEVELS / largest : 0.0f;
    if (inside) {
        Chunk *to = (Chunk *)(out + (size_t)blockIdx.x * width) + threadIdx.x;
        *to = {packed_levels(values, per_level), packed_levels(values + 4, per_level),
               packed_levels(values + 8, per_level), packed_levels(values + 12, per_level)};
    }
    if (threadIdx.x == 0) ((float *)(out + (size_t)rows * width))[blockIdx.x] = largest / LEVELS;
}
