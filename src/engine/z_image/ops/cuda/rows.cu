// Norms of rows, with what the transformer does before and after them. Each row is read once: a
// thread keeps its share of it. Rows have whole chunks, at most two for each thread of a block.
//
// candle has RMSNorm and LayerNorm too, but the first with an approximate rsqrt, and the second
// with a variance that loses its digits where the mean is large; and what is done before and after
// them in passes of their own.

#include "values.cuh"

const int SHARE = 2;

// What one thread has of a row: chunks threadIdx.x and threadIdx.x + blockDim.x, zeros behind it.
struct Share {
    Eight chunks[SHARE];
};

__device__ Share share_of(const bf16 *row, unsigned row_chunks) {
    Share share = {};
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        unsigned chunk = threadIdx.x + i * blockDim.x;
        if (chunk < row_chunks) share.chunks[i] = unpacked(((const Chunk *)row)[chunk]);
    }
    return share;
}

__device__ void write(bf16 *row, unsigned row_chunks, const Share &share) {
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        unsigned chunk = threadIdx.x + i * blockDim.x;
        if (chunk < row_chunks) ((Chunk *)row)[chunk] = packed(share.chunks[i]);
    }
}

// Of the row whose shares the threads of the block have.
__device__ float mean_square(const Share &share, unsigned d) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < SHARE * CHUNK; i++) {
        float value = share.chunks[i / CHUNK].at[i % CHUNK];
        sum += value * value;
    }
    return block_sum(sum) / d;
}

__device__ Share scaled(Share share, float factor, const Share &weights) {
#pragma unroll
    for (int i = 0; i < SHARE * CHUNK; i++) {
        share.chunks[i / CHUNK].at[i % CHUNK] *= factor * weights.chunks[i / CHUNK].at[i % CHUNK];
    }
    return share;
}

// x / sqrt(mean(x^2) + eps) * weight.
__device__ Share rms_normed(const Share &share, const bf16 *weight, unsigned d, float eps) {
    float inv_rms = 1.0f / sqrtf(mean_square(share, d) + eps);
    return scaled(share, inv_rms, share_of(weight, d / CHUNK));
}

// out = rms_normed(x) over each row of `d` values. Block (row).
extern "C" __global__ void rms_norm(const bf16 *x, const bf16 *weight, bf16 *out, uint32_t d,
                                    float eps) {
    size_t start = (size_t)blockIdx.x * d;
    Share row = share_of(x + start, d / CHUNK);
    write(out + start, d / CHUNK, rms_normed(row, weight, d, eps));
}

// sum = x + rms_normed(y). Block (row).
__device__ Share added(const bf16 *x, const bf16 *y, const bf16 *weight, bf16 *sum, uint32_t d,
                       float eps) {
    size_t start = (size_t)blockIdx.x * d;
    Share out = rms_normed(share_of(y + start, d / CHUNK), weight, d, eps);
    Share before = share_of(x + start, d / CHUNK);
#pragma unroll
    for (int i = 0; i < SHARE * CHUNK; i++) {
        out.chunks[i / CHUNK].at[i % CHUNK] += before.chunks[i / CHUNK].at[i % CHUNK];
    }
    write(sum + start, d / CHUNK, out);
    return out;
}

extern "C" __global__ void add_norm(const bf16 *x, const bf16 *y, const bf16 *weight, bf16 *sum,
                                    uint32_t d, float eps) {
    added(x, y, weight, sum, d, eps);
}

// The same, and out = rms_normed(sum) with a weight of its own.
extern "C" __global__ void add_norm_and_norm(const bf16 *x, const bf16 *y, const bf16 *weight,
                                             bf16 *sum, const bf16 *next_weight, bf16 *out,
                                             uint32_t d, float eps) {
    Share row = added(x, y, weight, sum, d, eps);
    write(out + (size_t)blockIdx.x * d, d / CHUNK, rms_normed(row, next_weight, d, eps));
}

// out = (x - mean) / sqrt(variance + eps) * weight over each row of `d` values. Block (row).
extern "C" __global__ void layer_norm(const bf16 *x, const bf16 *weight, bf16 *out, uint32_t d,
                                      float eps) {
    size_t start = (size_t)blockIdx.x * d;
    Share row = share_of(x + start, d / CHUNK);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < SHARE * CHUNK; i++) sum += row.chunks[i / CHUNK].at[i % CHUNK];
    float mean = block_sum(sum) / d;
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        if (threadIdx.x + i * blockDim.x >= d / CHUNK) continue;
#pragma unroll
        for (int j = 0; j < CHUNK; j++) row.chunks[i].at[j] -= mean;
    }
    float inv_std = 1.0f / sqrtf(mean_square(row, d) + eps);
    write(out + start, d / CHUNK, scaled(row, inv_std, share_of(weight, d / CHUNK)));
}

// What is done to a head's values before they are scored: RMSNorm with `weight`, then interleaved
// pairs rotated by the angles of the row. `lanes` threads have a head, a chunk each.
__device__ Chunk rotated(Eight x, float inv_rms, const bf16 *weight, const float *cos,
                         const float *sin, unsigned own) {
    Eight weights = unpacked(((const Chunk *)weight)[own]);
    float4 cosines = ((const float4 *)cos)[own], sines = ((const float4 *)sin)[own];
    const float c[] = {cosines.x, cosines.y, cosines.z, cosines.w};
    const float s[] = {sines.x, sines.y, sines.z, sines.w};
    Eight out;
#pragma unroll
    for (int i = 0; i < CHUNK / 2; i++) {
        float a = x.at[2 * i] * inv_rms * weights.at[2 * i];
        float b = x.at[2 * i + 1] * inv_rms * weights.at[2 * i + 1];
        out.at[2 * i] = a * c[i] - b * s[i];
        out.at[2 * i + 1] = a * s[i] + b * c[i];
    }
    return packed(out);
}

// Queries and keys, each (rows, heads, dim), normed by head and rotated: `cos` and `sin` (s, dim /
// 2) of the row's place among `s`. A head is a power of two of chunks, at most a warp's. Block
// (row, 0 for queries and 1 for keys).
extern "C" __global__ void norm_rope(const bf16 *q, const bf16 *k, const bf16 *q_weight,
                                     const bf16 *k_weight, const float *cos, const float *sin,
                                     bf16 *q_out, bf16 *k_out, uint32_t s, uint32_t heads,
                                     uint32_t dim, float eps) {
    bool is_key = blockIdx.y;
    unsigned lanes = dim / CHUNK, row_chunks = heads * lanes;
    const Chunk *x = (const Chunk *)(is_key ? k : q) + (size_t)blockIdx.x * row_chunks;
    Chunk *out = (Chunk *)(is_key ? k_out : q_out) + (size_t)blockIdx.x * row_chunks;
    size_t angles = (size_t)(blockIdx.x % s) * (dim / 2);
    // All threads of a warp take part in its sums.
    for (unsigned first = 0; first < row_chunks; first += blockDim.x) {
        unsigned chunk = first + threadIdx.x;
        Eight values = {};
        if (chunk < row_chunks) values = unpacked(x[chunk]);
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < CHUNK; i++) sum += values.at[i] * values.at[i];
        for (unsigned mask = 1; mask < lanes; mask *= 2) {
            sum += __shfl_xor_sync(0xffffffff, sum, mask);
        }
        if (chunk >= row_chunks) continue;
        float inv_rms = 1.0f / sqrtf(sum / dim + eps);
        out[chunk] = rotated(values, inv_rms, is_key ? k_weight : q_weight, cos + angles,
                             sin + angles, chunk % lanes);
    }
}
