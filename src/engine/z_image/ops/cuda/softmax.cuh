// The softmax of attention whose scores come tile by tile and are kept nowhere.
//
// A query's result is a sum of values with weights 2^(score - largest), divided by the sum of the
// weights; when a tile brings a larger score, what was summed so far is scaled down to it.
// Sources: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"; Dao 2023,
// "FlashAttention-2".
//
// Scores and results lie as tensor cores have their sums: a thread's values 4 n to 4 n + 3 are
// columns 8 n + 2 (lane % 4) and the next one of its warp's row lane / 4, then of the row 8 below.
#pragma once

#include "tensor_cores.cuh"

// What a thread knows of its two queries: their results so far, not divided; the largest score;
// and its share of the sum of weights.
template <int DIM> struct Results {
    float out[DIM / 2], largest[2], sum[2];
};

template <int DIM> __device__ Results<DIM> no_results() {
    Results<DIM> results = {};
    results.largest[0] = results.largest[1] = -INFINITY;
    return results;
}

// Over the four threads that share a row.
__device__ inline float largest_of_row(float value) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffff, value, 2));
}
__device__ inline float sum_of_row(float value) {
    value += __shfl_xor_sync(0xffffffff, value, 1);
    return value + __shfl_xor_sync(0xffffffff, value, 2);
}

// Takes the keys of a tile from `left` on out of the softmax.
template <int SCORES> __device__ void hide_from(float (&scores)[SCORES], unsigned left) {
    unsigned first = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < SCORES; i++) {
        if (i / 4 * 8 + first + i % 2 >= left) scores[i] = -INFINITY;
    }
}

// Makes weights of a tile's scores, and scales the results to the largest score so far. `scale` has
// log2(e) in it, and is positive.
template <int DIM, int SCORES>
__device__ void weigh(float (&scores)[SCORES], Results<DIM> &results, float scale) {
#pragma unroll
    for (int query = 0; query < 2; query++) {
        float largest = results.largest[query];
#pragma unroll
        for (int n = 0; n < SCORES / 4; n++) {
            const float *pair = &scores[4 * n + 2 * query];
            largest = fmaxf(largest, fmaxf(pair[0], pair[1]));
        }
        largest = largest_of_row(largest);
        float shrink = power_of_two((results.largest[query] - largest) * scale);
        float sum = results.sum[query] * shrink, scaled = largest * scale;
#pragma unroll
        for (int n = 0; n < SCORES / 4; n++) {
            float *pair = &scores[4 * n + 2 * query];
            for (int i = 0; i < 2; i++) {
                pair[i] = power_of_two(fmaf(pair[i], scale, -scaled));
                sum += pair[i];
            }
        }
#pragma unroll
        for (int n = 0; n < DIM / 8; n++) {
            for (int i = 0; i < 2; i++) results.out[4 * n + 2 * query + i] *= shrink;
        }
        results.largest[query] = largest;
        results.sum[query] = sum;
    }
}

// Writes a thread's results. `out` is a row of which `left` ones are there, `first_row` the thread's
// first one from it on.
template <int DIM>
__device__ void write(bf16 *out, const Results<DIM> &results, size_t stride, unsigned first_row,
                      unsigned left) {
    unsigned lane = threadIdx.x % WARP;
#pragma unroll
    for (int query = 0; query < 2; query++) {
        float inv_sum = 1.0f / sum_of_row(results.sum[query]);
        unsigned row = first_row + 8 * query;
        if (row < left) {
            uint32_t *pairs = (uint32_t *)(out + row * stride);
#pragma unroll
            for (int n = 0; n < DIM / 8; n++) {
                const float *pair = &results.out[4 * n + 2 * query];
                pairs[4 * n + lane % 4] = packed(pair[0] * inv_sum, pair[1] * inv_sum);
            }
        }
    }
}
