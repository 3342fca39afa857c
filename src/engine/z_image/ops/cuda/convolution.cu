// The convolution on tensor cores from compute capability 8.0 on: see convolution.cuh.
//
// A step is 32 values of the sum: three stages of two tiles are the 48 KB that every card has for a
// block.

#include "convolution.cuh"

const int STEP = 32;
const int STAGES = 3;

// A block of PIXELS x OUTPUTS of the result, in warps of WARP_PIXELS x WARP_OUTPUTS.
template <int PIXELS, int OUTPUTS, int WARP_PIXELS, int WARP_OUTPUTS, bool ALIGNED> struct Block {
    static const int WARP_ROWS = PIXELS / WARP_PIXELS;
    static const int THREADS = WARP_ROWS * (OUTPUTS / WARP_OUTPUTS) * WARP;
    using Tiles = Tile<PIXELS, OUTPUTS, THREADS, STEP, ALIGNED>;

    // Of the warp's tile: sums[m][n] are those of pixels 16 m on and outputs 8 n on.
    using Sums = float[WARP_PIXELS / 16][WARP_OUTPUTS / 8][4];

    static __device__ int warp_pixel() { return threadIdx.x / WARP % WARP_ROWS * WARP_PIXELS; }
    static __device__ int warp_output() { return threadIdx.x / WARP / WARP_ROWS * WARP_OUTPUTS; }

    static __device__ void multiply_stage(Sums &sums, const Chunk *stage) {
        int lane = threadIdx.x % WARP;
        int pixel = warp_pixel() + lane % 16, output = warp_output() + lane / 16 * 8 + lane % 8;
#pragma unroll
        for (int k = 0; k < STEP / 16; k++) {
            uint4 pixels[WARP_PIXELS / 16];
#pragma unroll
            for (int m = 0; m < WARP_PIXELS / 16; m++) {
                int chunk = Tiles::place(pixel + 16 * m, 2 * k + lane / 16);
                pixels[m] = load_matrices(stage + chunk);
            }
#pragma unroll
            for (int n = 0; n < WARP_OUTPUTS / 16; n++) {
                int chunk = Tiles::place(output + 16 * n, 2 * k + lane / 8 % 2);
                uint4 halves = load_matrices(stage + Tiles::PIXEL_CHUNKS + chunk);
#pragma unroll
                for (int m = 0; m < WARP_PIXELS / 16; m++) {
                    multiply_add(sums[m][2 * n], pixels[m], halves.x, halves.y);
                    multiply_add(sums[m][2 * n + 1], pixels[m], halves.z, halves.w);
                }
            }
        }
    }

    static __device__ void write(bf16 *out, const bf16 *residual, const bf16 *bias,
                                 const Sums &sums, const Convolution &conv) {
        uint32_t output = Tiles::block_output(conv) + warp_output();
        uint32_t pixel = Tiles::block_pixel(conv) + warp_pixel() + threadIdx.x % WARP / 4;
#pragma unroll
        for (int m = 0; m < WARP_PIXELS / 16; m++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                uint32_t own = pixel + 16 * m + 8 * half;
                if (own >= conv.out_pixels) continue;
                Row row = row_of(own, out, residual, conv);
                write_row<WARP_OUTPUTS / 8>(row, &sums[m][0][2 * half], bias, output, conv);
            }
        }
    }

    static __device__ void convolve(const bf16 *x, const bf16 *weight, const bf16 *bias,
                                    const bf16 *residual, bf16 *out, const Convolution &conv) {
        __shared__ Chunk stages[STAGES][Tiles::STAGE_CHUNKS];
        typename Tiles::Windows windows;
        Tiles::find_windows(windows, x, conv);
        Step next = {0, 0, 0};
        for (int stage = 0; stage < STAGES - 1; stage++) {
            Tiles::begin_stage(stages[stage], windows, weight, next, conv);
        }
        Sums sums = {};
        uint32_t steps = Tiles::steps(conv);
        int stage = 0, filled = STAGES - 1;
        for (uint32_t step = 0; step < steps; step++) {
            // This stage is here, and the one that is filled next is no longer in use.
            await_groups<STAGES - 2>();
            __syncthreads();
            Tiles::begin_stage(stages[filled], windows, weight, next, conv);
            multiply_stage(sums, stages[stage]);
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            filled = filled + 1 == STAGES ? 0 : filled + 1;
        }
        write(out, residual, bias, sums, conv);
    }
};

// `out` and `residual`, if there is one, are (b, out_height, out_width, outputs). Block (tile of
// the result).
extern "C" __global__ void __launch_bounds__(128, 2)
    convolve(const bf16 *x, const bf16 *weight, const bf16 *bias, const bf16 *residual, bf16 *out,
             Convolution conv) {
    Block<128, 128, 64, 64, true>::convolve(x, weight, bias, residual, out, conv);
}

// For few outputs.
extern "C" __global__ void __launch_bounds__(128)
    convolve_narrow(const bf16 *x, const bf16 *weight, const bf16 *bias, const bf16 *residual,
                    bf16 *out, Convolution conv) {
    Block<128, 32, 32, 32, true>::convolve(x, weight, bias, residual, out, conv);
}

// For inputs in no whole chunks.
extern "C" __global__ void __launch_bounds__(128)
    convolve_unaligned(const bf16 *x, const bf16 *weight, const bf16 *bias, const bf16 *residual,
                       bf16 *out, Convolution conv) {
    Block<128, 32, 32, 32, false>::convolve(x, weight, bias, residual, out, conv);
}
