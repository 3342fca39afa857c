// GroupNorm of (b, pixels, channels): first the moments of each group of channels, then the norm
// with them. Both pass over the values in chunks of neighbouring channels.
//
// candle has no such kernels: its GroupNorm is a chain of passes through copies in f32.

#include "values.cuh"

const int THREADS = 256;

// Count, mean and M2 (the sum of squared deviations from the mean) of some values.
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

// Sums of some pixels' values less the first one's, so that a large mean costs no digits.
struct Sums {
    Eight first, sum, squares;
};

__device__ Moments moments_of(const Sums &sums, int i, float count) {
    if (count == 0.0f) return {0.0f, 0.0f, 0.0f};
    float mean = sums.sum.at[i] / count;
    return {count, sums.first.at[i] + mean, fmaxf(sums.squares.at[i] - mean * sums.sum.at[i], 0.0f)};
}

// Moments of each group of a part of the pixels: `x` (b, pixels, channels), `out` (b, groups,
// parts) of Moments. Block (part of `part_pixels`, item). A thread has a chunk of every so many
// pixels; one at the end joins those of a channel, then one those of a group.
extern "C" __global__ void __launch_bounds__(THREADS)
    moments(const bf16 *x, float *out, uint32_t pixels, uint32_t channels, uint32_t groups,
            uint32_t part_pixels) {
    __shared__ Moments own[THREADS * CHUNK];
    unsigned chunks = channels / CHUNK, rows = THREADS / chunks;
    unsigned chunk = threadIdx.x % chunks, row = threadIdx.x / chunks;
    unsigned start = blockIdx.x * part_pixels, end = min(start + part_pixels, pixels);
    const Chunk *values = (const Chunk *)x + ((size_t)blockIdx.y * pixels) * chunks + chunk;
    Sums sums = {};
    unsigned count = 0;
    if (row < rows && start + row < end) {
        sums.first = unpacked(values[(size_t)(start + row) * chunks]);
        count = (end - start - row + rows - 1) / rows;
    }
#pragma unroll 4
    for (unsigned i = 1; i < count; i++) {
        Eight eight = unpacked(values[(size_t)(start + row + i * rows) * chunks]);
        for (int j = 0; j < CHUNK; j++) {
            float value = eight.at[j] - sums.first.at[j];
            sums.sum.at[j] += value;
            sums.squares.at[j] += value * value;
        }
    }
    // Those of a channel are `channels` apart: a warp writes and reads all banks.
    if (row < rows) {
        for (int i = 0; i < CHUNK; i++) {
            own[row * channels + i * chunks + chunk] = moments_of(sums, i, count);
        }
    }
    __syncthreads();
    for (unsigned channel = threadIdx.x; channel < channels; channel += THREADS) {
        Moments all = own[channel];
        for (unsigned i = 1; i < rows; i++) all = joined(all, own[i * channels + channel]);
        own[channel] = all;
    }
    __syncthreads();
    unsigned members = channels / groups;
    for (unsigned group = threadIdx.x; group < groups; group += THREADS) {
        Moments all = {0.0f, 0.0f, 0.0f};
        for (unsigned i = group * members; i < (group + 1) * members; i++) {
            all = joined(all, own[i % CHUNK * chunks + i / CHUNK]);
        }
        ((Moments *)out)[((size_t)blockIdx.y * groups + group) * gridDim.x + blockIdx.x] = all;
    }
}

// The moments of all parts of each group: `parts` (b * groups, part_count), `out` (b * groups).
// Block (group): one warp.
extern "C" __global__ void __launch_bounds__(WARP)
    join_moments(const float *parts, float *out, uint32_t part_count) {
    const Moments *own = (const Moments *)parts + (size_t)blockIdx.x * part_count;
    Moments all = {0.0f, 0.0f, 0.0f};
    for (unsigned part = threadIdx.x; part < part_count; part += WARP) {
        all = joined(all, own[part]);
    }
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        Moments other = {__shfl_xor_sync(0xffffffff, all.count, mask),
                         __shfl_xor_sync(0xffffffff, all.mean, mask),
                         __shfl_xor_sync(0xffffffff, all.m2, mask)};
        all = joined(all, other);
    }
    if (threadIdx.x == 0) ((Moments *)out)[blockIdx.x] = all;
}

// Exact to more digits than bf16 keeps, for less than a division and an exponential of all digits.
__device__ float fast_silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

// GroupNorm, then SiLU if asked: `x` and `out` (b, pixels, channels), `groups` of Moments for each
// item, `weight` and `bias` (channels). Block (part of `part_pixels`, item).
extern "C" __global__ void __launch_bounds__(THREADS)
    group_norm(const bf16 *x, const float *moments, const bf16 *weight, const bf16 *bias,
               bf16 *out, uint32_t pixels, uint32_t channels, uint32_t groups,
               uint32_t part_pixels, float eps, bool with_silu) {
    unsigned chunks = channels / CHUNK, rows = THREADS / chunks, members = channels / groups;
    unsigned chunk = threadIdx.x % chunks, row = threadIdx.x / chunks;
    if (row >= rows) return;
    Eight scale = unpacked(((const Chunk *)weight)[chunk]);
    Eight shift = unpacked(((const Chunk *)bias)[chunk]);
    const Moments *own = (const Moments *)moments + (size_t)blockIdx.y * groups;
    for (int i = 0; i < CHUNK; i++) {
        Moments group = own[(chunk * CHUNK + i) / members];
        scale.at[i] /= sqrtf(group.m2 / group.count + eps);
        shift.at[i] -= group.mean * scale.at[i];
    }
    unsigned end = min((blockIdx.x + 1) * part_pixels, pixels);
    size_t item = (size_t)blockIdx.y * pixels;
#pragma unroll 4
    for (unsigned pixel = blockIdx.x * part_pixels + row; pixel < end; pixel += rows) {
        size_t at = (item + pixel) * chunks + chunk;
        Eight values = unpacked(((const Chunk *)x)[at]);
        for (int i = 0; i < CHUNK; i++) {
            float value = values.at[i] * scale.at[i] + shift.at[i];
            values.at[i] = with_silu ? fast_silu(value) : value;
        }
        ((Chunk *)out)[at] = packed(values);
    }
}
