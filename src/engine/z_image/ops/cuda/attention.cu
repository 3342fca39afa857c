// softmax(q k^T * scale) v in one kernel, without the scores in memory.
//
// A block has 128 queries of one head, 16 for each warp, and passes over the keys in tiles of 64.
// A query's result is a sum of values with weights 2^(score - largest), divided by the sum of the
// weights; when a tile brings a larger score, what was summed so far is scaled down to it.
// Sources: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"; Dao 2023,
// "FlashAttention-2"; the way through shared memory as in lubits.ch/flash.
//
// q and out are (b, queries, heads, DIM), k and v (b, keys, heads, DIM), read where they are. The
// next tile of keys comes while this one is used, and its values while it is scored: two tiles of
// keys and one of values are the 48 KB that every card has for a block. The chunks of a tile's rows
// are permuted, so that eight threads which read the same chunk of eight rows, or write a row, use
// all banks of the memory. Block (queries, head, item): neighbours share keys and values in the
// card's cache.

#include "tensor_cores.cuh"

const int WARPS = 8;
const int THREADS = WARPS * WARP;
const int QUERIES = 16 * WARPS;
const int KEYS = 64;

// Where chunk `chunk` of row `row` of a tile lies. A line of all banks has eight chunks.
template <int DIM> __device__ int place(int row, int chunk) {
    const int row_chunks = DIM / 8;
    const int line_rows = row_chunks < 8 ? 8 / row_chunks : 1;
    const int mask = row_chunks < 8 ? row_chunks - 1 : 7;
    return row * row_chunks + (chunk ^ (row / line_rows & mask));
}

// Begins to copy a tile of rows that are `stride` values apart. There are `left` of them: what
// stands behind them becomes 0.
template <int DIM, int ROWS>
__device__ void begin_tile(Chunk *tile, const bf16 *from, size_t stride, unsigned left) {
    const int row_chunks = DIM / 8;
#pragma unroll
    for (int i = threadIdx.x; i < ROWS * row_chunks; i += THREADS) {
        int row = i / row_chunks, chunk = i % row_chunks;
        bool inside = row < left;
        const bf16 *chunks = from + (inside ? row : 0) * stride + 8 * chunk;
        begin_copy(tile + place<DIM>(row, chunk), (const Chunk *)chunks, inside);
    }
}

// The warp's 16 queries of a tile, as multiply_add takes them.
template <int DIM> __device__ void take_queries(uint4 (&queries)[DIM / 16], const Chunk *tile) {
    int lane = threadIdx.x % WARP, row = threadIdx.x / WARP * 16 + lane % 16;
#pragma unroll
    for (int step = 0; step < DIM / 16; step++) {
        queries[step] = load_matrices(tile + place<DIM>(row, 2 * step + lane / 16));
    }
}

// The products of the warp's queries and a tile of keys: scores[n] are those of keys 8 n on.
template <int DIM>
__device__ void score(float (&scores)[KEYS / 8][4], const uint4 (&queries)[DIM / 16],
                      const Chunk *keys) {
    int lane = threadIdx.x % WARP, first_row = lane / 16 * 8 + lane % 8, first_chunk = lane / 8 % 2;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
        for (int i = 0; i < 4; i++) scores[n][i] = 0.0f;
    }
#pragma unroll
    for (int step = 0; step < DIM / 16; step++) {
#pragma unroll
        for (int pair = 0; pair < KEYS / 16; pair++) {
            int row = 16 * pair + first_row, chunk = 2 * step + first_chunk;
            uint4 halves = load_matrices(keys + place<DIM>(row, chunk));
            multiply_add(scores[2 * pair], queries[step], halves.x, halves.y);
            multiply_add(scores[2 * pair + 1], queries[step], halves.z, halves.w);
        }
    }
}

// Takes the keys of a tile from `left` on out of the softmax.
__device__ void hide_from(float (&scores)[KEYS / 8][4], unsigned left) {
    unsigned first = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
        for (int i = 0; i < 4; i++) {
            if (8 * n + first + i % 2 >= left) scores[n][i] = -INFINITY;
        }
    }
}

// What a thread knows of two of the warp's queries, 8 apart: their results so far, not divided,
// with the columns of multiply_add; the largest score; and its share of the sum of weights.
template <int DIM> struct Results {
    float out[DIM / 8][4], largest[2], sum[2];
};

// Makes weights of a tile's scores, and scales the results to the largest score so far.
template <int DIM>
__device__ void weigh(float (&scores)[KEYS / 8][4], Results<DIM> &results, float scale) {
#pragma unroll
    for (int query = 0; query < 2; query++) {
        float largest = results.largest[query];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            float *pair = &scores[n][2 * query];
            largest = fmaxf(largest, fmaxf(pair[0], pair[1]));
        }
        largest = largest_of_row(largest);
        float shrink = power_of_two((results.largest[query] - largest) * scale);
        float sum = results.sum[query] * shrink;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            float *pair = &scores[n][2 * query];
            for (int i = 0; i < 2; i++) {
                pair[i] = power_of_two(fmaf(pair[i], scale, -largest * scale));
                sum += pair[i];
            }
        }
#pragma unroll
        for (int n = 0; n < DIM / 8; n++) {
            for (int i = 0; i < 2; i++) results.out[n][2 * query + i] *= shrink;
        }
        results.largest[query] = largest;
        results.sum[query] = sum;
    }
}

// Adds a tile's values, by their weights.
template <int DIM>
__device__ void add_values(float (&out)[DIM / 8][4], const float (&weights)[KEYS / 8][4],
                           const Chunk *values) {
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++) {
        const float *left = weights[2 * step], *right = weights[2 * step + 1];
        uint4 quarters = {packed(left[0], left[1]), packed(left[2], left[3]),
                          packed(right[0], right[1]), packed(right[2], right[3])};
#pragma unroll
        for (int pair = 0; pair < DIM / 16; pair++) {
            int row = 16 * step + lane % 16, chunk = 2 * pair + lane / 16;
            uint4 halves = load_transposed_matrices(values + place<DIM>(row, chunk));
            multiply_add(out[2 * pair], quarters, halves.x, halves.y);
            multiply_add(out[2 * pair + 1], quarters, halves.z, halves.w);
        }
    }
}

// Writes the warp's results: `out` is the block's first row, of which there are `left`.
template <int DIM>
__device__ void write(bf16 *out, const Results<DIM> &results, size_t stride, unsigned left) {
    unsigned lane = threadIdx.x % WARP, first_row = threadIdx.x / WARP * 16 + lane / 4;
#pragma unroll
    for (int query = 0; query < 2; query++) {
        float inv_sum = 1.0f / sum_of_row(results.sum[query]);
        unsigned row = first_row + 8 * query;
        if (row < left) {
            uint32_t *pairs = (uint32_t *)(out + row * stride);
#pragma unroll
            for (int n = 0; n < DIM / 8; n++) {
                const float *pair = &results.out[n][2 * query];
                pairs[4 * n + lane % 4] = packed(pair[0] * inv_sum, pair[1] * inv_sum);
            }
        }
    }
}

// `scale` has log2(e) in it, and is positive.
template <int DIM>
__device__ void attend(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, unsigned queries,
                       unsigned keys, float scale) {
    __shared__ Chunk key_tiles[2][KEYS * DIM / 8];
    __shared__ Chunk value_tile[KEYS * DIM / 8];
    size_t stride = gridDim.y * DIM;
    unsigned first = blockIdx.x * QUERIES;
    size_t begin = ((size_t)blockIdx.z * queries + first) * stride + blockIdx.y * DIM;
    k += (size_t)blockIdx.z * keys * stride + blockIdx.y * DIM;
    v += (size_t)blockIdx.z * keys * stride + blockIdx.y * DIM;

    begin_tile<DIM, QUERIES>(key_tiles[0], q + begin, stride, queries - first);
    end_group();
    await_groups<0>();
    __syncthreads();
    uint4 own_queries[DIM / 16];
    take_queries<DIM>(own_queries, key_tiles[0]);
    __syncthreads();
    begin_tile<DIM, KEYS>(key_tiles[0], k, stride, keys);
    end_group();

    Results<DIM> results = {};
    results.largest[0] = results.largest[1] = -INFINITY;
    for (unsigned start = 0, odd = 0; start < keys; start += KEYS, odd ^= 1) {
        unsigned left = keys - start;
        // The keys are here, and the tiles that are filled next are no longer in use.
        await_groups<0>();
        __syncthreads();
        begin_tile<DIM, KEYS>(value_tile, v + start * stride, stride, left);
        end_group();
        if (left > KEYS) {
            begin_tile<DIM, KEYS>(key_tiles[odd ^ 1], k + (start + KEYS) * stride, stride,
                                  left - KEYS);
        }
        end_group();
        float weights[KEYS / 8][4];
        score<DIM>(weights, own_queries, key_tiles[odd]);
        if (left < KEYS) hide_from(weights, left);
        weigh<DIM>(weights, results, scale);
        // The values are here; the next keys may still come.
        await_groups<1>();
        __syncthreads();
        add_values<DIM>(results.out, weights, value_tile);
    }
    write<DIM>(out + begin, results, stride, queries - first);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_128(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, uint32_t queries,
                  uint32_t keys, float scale) {
    attend<128>(q, k, v, out, queries, keys, scale);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_32(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, uint32_t queries,
                 uint32_t keys, float scale) {
    attend<32>(q, k, v, out, queries, keys, scale);
}
