// The kernels of operators that have no file of their own. Beside each stands what candle's own kernels (candle-kernels) lack.
// Values are bf16; all arithmetic is f32, rounded once. "Block (a, b)" says what blockIdx.x and
// blockIdx.y count; blocks that sum have whole warps. Sizes that can pass 32 bits are size_t; a
// division of such numbers costs more than the memory, so that there is none.

#include "values.cuh"

// The largest value of the block, for each of its threads.
__device__ float block_max(float value) {
    __shared__ float largest[WARP];
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, mask));
    }
    if (threadIdx.x % WARP == 0) largest[threadIdx.x / WARP] = value;
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / WARP; warp++) value = fmaxf(value, largest[warp]);
    __syncthreads();
    return value;
}

__device__ float silu(float x) { return x / (1.0f + expf(-x)); }

// Softmax of scores * scale, in place: rows of `keys`. Block (row). Row r is query r % queries,
// which sees the first `first_seen` + r % queries keys; the others become 0.
//
// candle's knows no scale and no mask, writes a second tensor as large as the scores, and rounds
// each power to bf16 before it is summed.
extern "C" __global__ void softmax(bf16 *scores, uint32_t keys, uint32_t queries,
                                   uint32_t first_seen, float scale) {
    scores += (size_t)blockIdx.x * keys;
    uint32_t seen = min(keys, first_seen + blockIdx.x % queries);
    float largest = -INFINITY;
    for (uint32_t i = threadIdx.x; i < seen; i += blockDim.x) {
        largest = fmaxf(largest, __bfloat162float(scores[i]) * scale);
    }
    largest = block_max(largest);
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x; i < seen; i += blockDim.x) {
        sum += expf(__bfloat162float(scores[i]) * scale - largest);
    }
    float inv_sum = 1.0f / block_sum(sum);
    for (uint32_t i = threadIdx.x; i < keys; i += blockDim.x) {
        float weight = 0.0f;
        if (i < seen) weight = expf(__bfloat162float(scores[i]) * scale - largest) * inv_sum;
        scores[i] = __float2bfloat16(weight);
    }
}

// Rotates pairs of `x` (b, s, heads, 2 half) by the angles of `cos` and `sin` (s, half): elements
// 2i and 2i + 1 where `interleaved`, else i and i + half (GPT-NeoX). Block (row, head, item).
//
// candle's rounds the angles and each product to bf16, and wants interleaved pairs with the heads
// before the positions, which would take two transposes.
extern "C" __global__ void rope(const bf16 *x, const float *cos, const float *sin, bf16 *out,
                                uint32_t half, bool interleaved) {
    size_t row = (size_t)blockIdx.z * gridDim.x + blockIdx.x;
    size_t start = (row * gridDim.y + blockIdx.y) * 2 * half;
    x += start;
    out += start;
    cos += (size_t)blockIdx.x * half;
    sin += (size_t)blockIdx.x * half;
    for (uint32_t i = threadIdx.x; i < half; i += blockDim.x) {
        uint32_t first = interleaved ? 2 * i : i, second = interleaved ? first + 1 : first + half;
        float a = __bfloat162float(x[first]), b = __bfloat162float(x[second]);
        out[first] = __float2bfloat16(a * cos[i] - b * sin[i]);
        out[second] = __float2bfloat16(a * sin[i] + b * cos[i]);
    }
}

// (b, rows, columns, d) as (b, columns, rows, d). Block (row and column of `x`, item).
//
// candle's copy of strided values finds each value's place by divisions; this one moves whole
// rows.
extern "C" __global__ void transpose(const bf16 *x, bf16 *out, uint32_t rows, uint32_t columns,
                                     uint32_t d) {
    uint32_t row = blockIdx.x / columns, column = blockIdx.x % columns;
    size_t item = (size_t)blockIdx.y * rows * columns;
    x += (item + blockIdx.x) * d;
    out += (item + (size_t)column * rows + row) * d;
    for (uint32_t i = threadIdx.x; i < d; i += blockDim.x) out[i] = x[i];
}

// out = silu(gate) * up: a thread for each chunk of `count` values.
//
// candle has no such kernel: it writes silu(gate) and reads it again.
extern "C" __global__ void swiglu(const bf16 *gate, const bf16 *up, bf16 *out, size_t count) {
    size_t chunk = (size_t)blockIdx.x * blockDim.x + threadIdx.x, start = chunk * CHUNK;
    if (start + CHUNK <= count) {
        Eight gates = unpacked(((const Chunk *)gate)[chunk]);
        Eight ups = unpacked(((const Chunk *)up)[chunk]);
        for (int i = 0; i < CHUNK; i++) gates.at[i] = silu(gates.at[i]) * ups.at[i];
        ((Chunk *)out)[chunk] = packed(gates);
        return;
    }
    for (size_t i = start; i < count; i++) {
        out[i] = __float2bfloat16(silu(__bfloat162float(gate[i])) * __bfloat162float(up[i]));
    }
}
