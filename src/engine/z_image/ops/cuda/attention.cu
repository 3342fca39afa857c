// softmax(q k^T * scale) v in one kernel, without the scores in memory.
//
// A block has 128 queries of one head, 16 for each warp, and passes over the keys in tiles of 64.
// What becomes of the scores stands in softmax.cuh; the way through shared memory is that of
// lubits.ch/flash.
//
// q and out are (b, queries, heads, DIM), k and v (b, keys, heads, DIM), read where they are. The
// next tile of keys comes while this one is used, and its values while it is scored: two tiles of
// keys and one of values are the 48 KB that every card has for a block. The chunks of a tile's rows
// are permuted, so that eight threads which read the same chunk of eight rows, or write a row, use
// all banks of the memory. Block (queries, head, item): neighbours share keys and values in the
// card's cache.

#include "softmax.cuh"
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

// Sums 4 n to 4 n + 3, as multiply_add takes them.
template <int N> __device__ float (&four(float (&sums)[N], int n))[4] {
    return *(float (*)[4])(sums + 4 * n);
}

// The products of the warp's queries and a tile of keys.
template <int DIM>
__device__ void score(float (&scores)[KEYS / 2], const uint4 (&queries)[DIM / 16],
                      const Chunk *keys) {
    int lane = threadIdx.x % WARP, first_row = lane / 16 * 8 + lane % 8, first_chunk = lane / 8 % 2;
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++) scores[i] = 0.0f;
#pragma unroll
    for (int step = 0; step < DIM / 16; step++) {
#pragma unroll
        for (int pair = 0; pair < KEYS / 16; pair++) {
            int row = 16 * pair + first_row, chunk = 2 * step + first_chunk;
            uint4 halves = load_matrices(keys + place<DIM>(row, chunk));
            multiply_add(four(scores, 2 * pair), queries[step], halves.x, halves.y);
            multiply_add(four(scores, 2 * pair + 1), queries[step], halves.z, halves.w);
        }
    }
}

// Adds a tile's values, by their weights.
template <int DIM>
__device__ void add_values(float (&out)[DIM / 2], const float (&weights)[KEYS / 2],
                           const Chunk *values) {
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++) {
        const float *w = &weights[8 * step];
        uint4 quarters = {packed(w[0], w[1]), packed(w[2], w[3]), packed(w[4], w[5]),
                          packed(w[6], w[7])};
#pragma unroll
        for (int pair = 0; pair < DIM / 16; pair++) {
            int row = 16 * step + lane % 16, chunk = 2 * pair + lane / 16;
            uint4 halves = load_transposed_matrices(values + place<DIM>(row, chunk));
            multiply_add(four(out, 2 * pair), quarters, halves.x, halves.y);
            multiply_add(four(out, 2 * pair + 1), quarters, halves.z, halves.w);
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

    Results<DIM> results = no_results<DIM>();
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
        float weights[KEYS / 2];
        score<DIM>(weights, own_queries, key_tiles[odd]);
        if (left < KEYS) hide_from(weights, left);
        weigh(weights, results, scale);
        // The values are here; the next keys may still come.
        await_groups<1>();
        __syncthreads();
        add_values<DIM>(results.out, weights, value_tile);
    }
    unsigned first_row = threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4;
    write(out + begin, results, stride, first_row, queries - first);
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
