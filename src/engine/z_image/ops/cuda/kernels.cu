// The kernels of operators that have no file of their own. Beside each stands what candle's own kernels (candle-kernels) lack.
// Values are bf16; all arithmetic is f32, rounded once. "Block (a, b)" says what blockIdx.x and
// blockIdx.y count; blocks that sum have whole warps. Sizes that can pass 32 bits are size_t; a
// division of such numbers costs more than the memory, so that there is none.

#include "values.cuh"

// Mean and M2 (the sum of squared deviations from the mean) of `count` values.
struct Moments {
    float count, mean, m2;
};

// Chan's update of the moments of some values by those of others.
__device__ Moments joined(Moments a, Moments b) {
    float total = a.count + b.count;
    if (total == 0.0f) return a;
    float step = b.mean - a.mean;
    float share = b.count / total;
    return {total, a.mean + step * share, a.m2 + b.m2 + step * step * a.count * share};
}

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

// A block's joined moments of `count` values from `x` on, for each of its threads.
__device__ Moments block_moments(const bf16 *x, size_t count) {
    float sum = 0.0f;
    for (size_t i = threadIdx.x; i < count; i += blockDim.x) sum += __bfloat162float(x[i]);
    float mean = block_sum(sum) / count;
    float m2 = 0.0f;
    for (size_t i = threadIdx.x; i < count; i += blockDim.x) {
        float centred = __bfloat162float(x[i]) - mean;
        m2 += centred * centred;
    }
    return {(float)count, mean, block_sum(m2)};
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

// The windows of a convolution for the `pixels` pixels from row `first` of its result on, `stride`
// apart, zeros around, `before` of them above and on the left: `x` (c, h, w), `out` (c, kernel, kernel, pixels). Block (pixels, element of a
// window).
//
// candle's writes the whole matrix at once, which has the kernel's area times the values of `x`.
extern "C" __global__ void im2col(const bf16 *x, bf16 *out, uint32_t pixels, uint32_t h, uint32_t w,
                                  uint32_t kernel, uint32_t before, uint32_t stride,
                                  uint32_t first, uint32_t out_w) {
    uint32_t pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;
    uint32_t channel = blockIdx.y / (kernel * kernel), offset = blockIdx.y % (kernel * kernel);
    // Above and left of the picture they wrap to numbers beyond its size.
    uint32_t row = (first + pixel / out_w) * stride + offset / kernel - before;
    uint32_t column = pixel % out_w * stride + offset % kernel - before;
    bool inside = row < h && column < w;
    bf16 value = inside ? x[((size_t)channel * h + row) * w + column] : bf16(0.0f);
    out[(size_t)blockIdx.y * pixels + pixel] = value;
}

// out[c, i] = bias[c] over planes of `plane` values. Block (values, c).
//
// candle adds a convolution's bias in a pass of its own; here the product adds to it.
extern "C" __global__ void broadcast_bias(const bf16 *bias, bf16 *out, size_t plane) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < plane) out[blockIdx.y * plane + i] = bias[blockIdx.y];
}

// Twice the height and width, each value repeated: `x` (c, h, w), `out` (c, 2 h, 2 w). Block
// (values of the result, c).
//
// candle's finds each value's place by divisions of 64 bits and in floating point.
extern "C" __global__ void upsample(const bf16 *x, bf16 *out, uint32_t h, uint32_t w) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= 4 * h * w) return;
    uint32_t row = i / (2 * w) / 2, column = i % (2 * w) / 2;
    out[(size_t)blockIdx.y * 4 * h * w + i] = x[((size_t)blockIdx.y * h + row) * w + column];
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

// Moments of each part of each group: `x` (groups, count), `out` (groups, parts) of Moments. Block
// (p, g) has the values from p * part_count on of group g.
//
// candle has no such kernel.
extern "C" __global__ void moments(const bf16 *x, float *out, size_t count, uint32_t part_count) {
    size_t start = (size_t)blockIdx.x * part_count;
    size_t length = min((size_t)part_count, count - start);
    Moments found = block_moments(x + blockIdx.y * count + start, length);
    if (threadIdx.x == 0) ((Moments *)out)[(size_t)blockIdx.y * gridDim.x + blockIdx.x] = found;
}

// GroupNorm, then SiLU if asked: `x` (b, channels, plane) in groups of `members` channels, `weight`
// and `bias` (channels), `parts` (b * groups, part_number) of Moments. Block (p, c) has the values
// from p * part_count on of channel c, counted over all items.
//
// candle has no such kernel: its GroupNorm is a chain of passes through copies in f32.
extern "C" __global__ void group_norm(const bf16 *x, const float *parts, const bf16 *weight,
                                      const bf16 *bias, bf16 *out, size_t plane,
                                      uint32_t part_count, uint32_t channels, uint32_t members,
                                      uint32_t part_number, float eps, bool with_silu) {
    const Moments *own = (const Moments *)parts + (size_t)(blockIdx.y / members) * part_number;
    Moments all = {0.0f, 0.0f, 0.0f};
    for (uint32_t part = 0; part < part_number; part++) all = joined(all, own[part]);
    float scale = __bfloat162float(weight[blockIdx.y % channels]) / sqrtf(all.m2 / all.count + eps);
    float shift = __bfloat162float(bias[blockIdx.y % channels]) - all.mean * scale;
    size_t start = (size_t)blockIdx.x * part_count;
    size_t end = min(start + part_count, plane);
    x += blockIdx.y * plane;
    out += blockIdx.y * plane;
    for (size_t i = start + threadIdx.x; i < end; i += blockDim.x) {
        float value = __bfloat162float(x[i]) * scale + shift;
        out[i] = __float2bfloat16(with_silu ? silu(value) : value);
    }
}
