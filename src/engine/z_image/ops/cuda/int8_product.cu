// Products of rows of eight bits on tensor cores:
//
//   out (rows, outputs) = x (rows, width) weights (outputs, width)^T
//
// Rows lie as ops/int8 has them: all rows, then an f32 scale for each. A sum is of whole numbers in
// 32 bits, and exact; both scales come to it at the end.
//
// Source: W8A8 with a scale for each row, in the tiles of comfy-kitchen's cutlass_gemm_int8.cu; the
// way through shared memory is that of convolution.cu. candle has no such product.

#include "tensor_cores.cuh"

// A block computes SIDE rows of SIDE outputs, in warps of WARP_SIDE each way, in steps of
// STEP_CHUNKS chunks of 16 numbers. Three stages of two tiles are the 48 KB that every card has.
const int SIDE = 128;
const int WARP_SIDE = 64;
const int THREADS = SIDE / WARP_SIDE * (SIDE / WARP_SIDE) * WARP;
const int STEP_CHUNKS = 4;
const int STAGES = 3;
const int TILE_CHUNKS = SIDE * STEP_CHUNKS;

// Tiles of rows that are gone through together, so that the blocks at work at a time share rows and
// weights in the card's cache.
const uint32_t BAND = 8;

struct Rows {
    const Chunk *chunks;
    const float *scales;
    uint32_t count;
};

__device__ Rows rows_of(const int8_t *bits, uint32_t count, uint32_t width) {
    return {(const Chunk *)bits, (const float *)(bits + (size_t)count * width), count};
}

// Where chunk `chunk` of row `row` of a tile lies, so that eight threads which read the same chunk
// of eight rows use all banks of the memory.
__device__ int place(int row, int chunk) {
    return row * STEP_CHUNKS + (chunk ^ (row / 2 % STEP_CHUNKS));
}

// Begins to copy a step of the rows from `first_row` on; zeros where there is none.
__device__ void begin_tile(Chunk *tile, const Rows &rows, uint32_t first_row, uint32_t first_chunk,
                           uint32_t row_chunks) {
    int chunk = threadIdx.x % STEP_CHUNKS;
#pragma unroll
    for (int i = 0; i < TILE_CHUNKS / THREADS; i++) {
        int row = threadIdx.x / STEP_CHUNKS + i * (THREADS / STEP_CHUNKS);
        bool inside = first_row + row < rows.count && first_chunk + chunk < row_chunks;
        size_t at = inside ? (size_t)(first_row + row) * row_chunks + first_chunk + chunk : 0;
        begin_copy(tile + place(row, chunk), rows.chunks + at, inside);
    }
}

// Of the warp's tile: sums[m][n] are those of rows 16 m on and outputs 8 n on.
using Sums = int[WARP_SIDE / 16][WARP_SIDE / 8][4];

__device__ int warp_row() { return threadIdx.x / WARP % (SIDE / WARP_SIDE) * WARP_SIDE; }
__device__ int warp_output() { return threadIdx.x / WARP / (SIDE / WARP_SIDE) * WARP_SIDE; }

__device__ void multiply_stage(Sums &sums, const Chunk *stage) {
    int lane = threadIdx.x % WARP;
    int row = warp_row() + lane % 16, output = warp_output() + lane / 16 * 8 + lane % 8;
#pragma unroll
    for (int k = 0; k < STEP_CHUNKS / 2; k++) {
        uint4 rows[WARP_SIDE / 16];
#pragma unroll
        for (int m = 0; m < WARP_SIDE / 16; m++) {
            rows[m] = load_matrices(stage + place(row + 16 * m, 2 * k + lane / 16));
        }
#pragma unroll
        for (int n = 0; n < WARP_SIDE / 16; n++) {
            int chunk = place(output + 16 * n, 2 * k + lane / 8 % 2);
            uint4 halves = load_matrices(stage + TILE_CHUNKS + chunk);
#pragma unroll
            for (int m = 0; m < WARP_SIDE / 16; m++) {
                multiply_add(sums[m][2 * n], rows[m], halves.x, halves.y);
                multiply_add(sums[m][2 * n + 1], rows[m], halves.z, halves.w);
            }
        }
    }
}

// Writes two neighbouring outputs of a row.
__device__ void write_pair(bf16 *row, const int *sums, float row_scale, const Rows &weights,
                           uint32_t output) {
    float first = 0.0f, second = 0.0f;
    if (output < weights.count) first = sums[0] * (weights.scales[output] * row_scale);
    if (output + 1 < weights.count) second = sums[1] * (weights.scales[output + 1] * row_scale);
    if (weights.count % 2 == 0 && output < weights.count) {
        *(uint32_t *)(row + output) = packed(first, second);
        return;
    }
    if (output < weights.count) row[output] = __float2bfloat16(first);
    if (output + 1 < weights.count) row[output + 1] = __float2bfloat16(second);
}

__device__ void write(bf16 *out, const Sums &sums, const Rows &x, const Rows &weights,
                      uint32_t first_row, uint32_t first_output) {
    int lane = threadIdx.x % WARP;
    uint32_t output = first_output + warp_output() + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < WARP_SIDE / 8; i++) {
        uint32_t row = first_row + warp_row() + lane / 4 + 8 * i;
        if (row >= x.count) continue;
        float scale = x.scales[row];
#pragma unroll
        for (int n = 0; n < WARP_SIDE / 8; n++) {
            const int *pair = &sums[i / 2][n][i % 2 * 2];
            write_pair(out + (size_t)row * weights.count, pair, scale, weights, output + 8 * n);
        }
    }
}

// Block (tile of the result).
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    int8_product(const int8_t *x_bits, const int8_t *weight_bits, bf16 *out, uint32_t row_count,
                 uint32_t outputs, uint32_t width) {
    __shared__ Chunk stages[STAGES][2 * TILE_CHUNKS];
    Rows x = rows_of(x_bits, row_count, width), weights = rows_of(weight_bits, outputs, width);
    uint32_t across = (outputs + SIDE - 1) / SIDE, down = (row_count + SIDE - 1) / SIDE;
    uint32_t band = blockIdx.x / (BAND * across) * BAND, within = blockIdx.x % (BAND * across);
    uint32_t band_tiles = min(BAND, down - band);
    uint32_t first_row = (band + within % band_tiles) * SIDE;
    uint32_t first_output = within / band_tiles * SIDE;
    uint32_t row_chunks = width / 16, steps = (row_chunks + STEP_CHUNKS - 1) / STEP_CHUNKS;

    auto begin_stage = [&](uint32_t step) {
        Chunk *stage = stages[step % STAGES];
        if (step < steps) {
            begin_tile(stage, x, first_row, step * STEP_CHUNKS, row_chunks);
            begin_tile(stage + TILE_CHUNKS, weights, first_output, step * STEP_CHUNKS, row_chunks);
        }
        end_group();
    };
    for (int step = 0; step < STAGES - 1; step++) begin_stage(step);
    Sums sums = {};
    for (uint32_t step = 0; step < steps; step++) {
        // This stage is here, and the one that is filled next is no longer in use.
        await_groups<STAGES - 2>();
        __syncthreads();
        begin_stage(step + STAGES - 1);
        multiply_stage(sums, stages[step % STAGES]);
    }
    write(out, sums, x, weights, first_row, first_output);
}
