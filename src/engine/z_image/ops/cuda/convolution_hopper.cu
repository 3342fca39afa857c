// The convolution for compute capability 9.0, by its products of warpgroups: see convolution.cuh.
//
// A step is 64 values of the sum, the rows of a product's tiles. Two warpgroups have 64 pixels
// each. The products of a step are at work while the next step but one comes.

#include "convolution.cuh"
#include "hopper.cuh"

const int STEP = COLUMNS;
const int STAGES = 3;
const int PIXELS = 128;
const int OUTPUTS = 128;
const int THREADS = PIXELS / 64 * WARPGROUP;

// No product reads further columns than a tile has.
const unsigned UNUSED_STEP = sizeof(Chunk);

using Tiles = Tile<PIXELS, OUTPUTS, THREADS, STEP, true>;

struct alignas(TILE_ALIGNMENT) Shared {
    Chunk stages[STAGES][Tiles::STAGE_CHUNKS];
};
static_assert(sizeof(Shared) + TILE_ALIGNMENT == 97 << 10, "conv.rs asks for other memory");

// Begins sums (64x128) += the warpgroup's pixels of the stage times its outputs.
__device__ void begin_step(float (&sums)[64], const Chunk *stage) {
    const Chunk *rows = stage + threadIdx.x / WARPGROUP * 64 * Tiles::STEP_CHUNKS;
    Place pixels = described((const bf16 *)rows, UNUSED_STEP);
    Place outputs = described((const bf16 *)(stage + Tiles::PIXEL_CHUNKS), UNUSED_STEP);
    begin_products();
#pragma unroll
    for (int k = 0; k < STEP / 16; k++) {
        unsigned bytes = k * 16 * sizeof(bf16);
        begin_multiply(sums, onward(pixels, bytes), onward(outputs, bytes), true);
    }
    end_products();
}

__device__ void write(bf16 *out, const bf16 *residual, const bf16 *bias, const float (&sums)[64],
                      const Convolution &conv) {
    uint32_t first = threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t pixel = Tiles::block_pixel(conv) + first + 8 * half;
        if (pixel >= conv.out_pixels) continue;
        Row row = row_of(pixel, out, residual, conv);
        write_row<OUTPUTS / 8>(row, sums + 2 * half, bias, Tiles::block_output(conv), conv);
    }
}

// `out` and `residual`, if there is one, are (b, out_height, out_width, outputs). Block (tile of
// the result).
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    convolve_hopper(const bf16 *x, const bf16 *weight, const bf16 *bias, const bf16 *residual,
                    bf16 *out, Convolution conv) {
    Shared &shared = asked<Shared>();
    Tiles::Windows windows;
    Tiles::find_windows(windows, x, conv);
    Step next = {0, 0, 0};
    for (int stage = 0; stage < STAGES - 2; stage++) {
        Tiles::begin_stage(shared.stages[stage], windows, weight, next, conv);
    }
    float sums[64] = {};
    uint32_t steps = Tiles::steps(conv);
    int stage = 0, filled = STAGES - 2;
    for (uint32_t step = 0; step < steps; step++) {
        // This stage is here, and the products of the one that is filled next are done.
        await_groups<STAGES - 3>();
        publish();
        __syncthreads();
        begin_step(sums, shared.stages[stage]);
        Tiles::begin_stage(shared.stages[filled], windows, weight, next, conv);
        await_earlier_products();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        filled = filled + 1 == STAGES ? 0 : filled + 1;
    }
    await_products();
    pin(sums);
    write(out, residual, bias, sums, conv);
}
