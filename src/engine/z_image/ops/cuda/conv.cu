// Convolution as one product on tensor cores, whose left factor never stands in memory:
//
//   out (pixels, outputs) = windows (pixels, taps * inputs) x weight (outputs, taps * inputs)^T
//
// A row of `windows` is what the kernel sees from one pixel of the result, tap by tap. `x` is (b,
// height, width, inputs), so that a tap's channels are neighbours: they come in chunks, zeros where
// the window reaches beyond the picture. A block has a tile of the result, and goes along the sum
// in steps of 32 values, all of one tap. The next steps' values come while this one's are
// multiplied: three stages of two tiles are the 48 KB that every card has for a block.
//
// The chunks of a tile's rows are permuted, so that eight threads which read the same chunk of
// eight rows use all banks of the memory.

#include <limits.h>

#include "tensor_cores.cuh"

// Values of the sum in a stage: the length of a tile's rows.
const int STEP = 32;
const int STEP_CHUNKS = STEP / CHUNK;
const int STAGES = 3;

// Sizes as the host gives them: Convolution in conv.rs.
struct Convolution {
    uint32_t height, width, inputs, outputs, kernel;
    // Rows of zeros above the picture, and columns left of it.
    uint32_t before;
    uint32_t stride;
    // 1, if each pixel of `x` is seen as a square of four.
    uint32_t doubled;
    uint32_t out_height, out_width, out_pixels;
    uint32_t has_residual;
};

// Where chunk `chunk` of row `row` of a tile lies. A line of all banks has eight chunks.
__device__ int place(int row, int chunk) {
    const int line_rows = CHUNK / STEP_CHUNKS;
    return row * STEP_CHUNKS + (chunk ^ (row / line_rows % STEP_CHUNKS));
}

// What a stage holds of the sum: values of one tap, from a channel on.
struct Step {
    uint32_t row, column, channel;
};

__device__ void advance(Step &step, const Convolution &conv) {
    step.channel += STEP;
    if (step.channel < conv.inputs) return;
    step.channel = 0;
    step.column++;
    if (step.column < conv.kernel) return;
    step.column = 0;
    step.row++;
}

// What the kernel sees from one pixel: where it begins in the item.
struct Window {
    const bf16 *item;
    int row, column;
};

__device__ Window window_of(const bf16 *x, uint32_t pixel, const Convolution &conv) {
    // Behind the last pixel the whole window lies beyond the picture.
    if (pixel >= conv.out_pixels) return {x, INT_MIN / 2, 0};
    uint32_t line = pixel / conv.out_width, column = pixel % conv.out_width;
    uint32_t item = line / conv.out_height, row = line % conv.out_height;
    size_t values = (size_t)conv.height * conv.width * conv.inputs;
    return {x + item * values, (int)(row * conv.stride) - (int)conv.before,
            (int)(column * conv.stride) - (int)conv.before};
}

// Begins to copy a chunk of channels, `left` of which there are; zeros if it is not `inside`.
// ALIGNED, if there are whole chunks only.
template <bool ALIGNED>
__device__ void begin_channels(Chunk *to, const bf16 *from, int left, bool inside) {
    if (ALIGNED) {
        begin_copy(to, (const Chunk *)from, inside && left > 0);
        return;
    }
    Eight values;
    for (int i = 0; i < CHUNK; i++) {
        values.at[i] = inside && i < left ? __bfloat162float(from[i]) : 0.0f;
    }
    *to = packed(values);
}

// A block of PIXELS x OUTPUTS of the result, in warps of WARP_PIXELS x WARP_OUTPUTS.
template <int PIXELS, int OUTPUTS, int WARP_PIXELS, int WARP_OUTPUTS, bool ALIGNED>
struct Block {
    static const int WARP_ROWS = PIXELS / WARP_PIXELS;
    static const int THREADS = WARP_ROWS * (OUTPUTS / WARP_OUTPUTS) * WARP;
    // Rows of a tile that are copied at once, a chunk by each thread.
    static const int ROWS = THREADS / STEP_CHUNKS;
    static const int PIXEL_CHUNKS = PIXELS * STEP_CHUNKS, OUTPUT_CHUNKS = OUTPUTS * STEP_CHUNKS;
    static const int STAGE_CHUNKS = PIXEL_CHUNKS + OUTPUT_CHUNKS;

    // Where the block's tile of the result begins. Neighbours share their pixels in the card's
    // cache.
    static __device__ uint32_t output_tiles(const Convolution &conv) {
        return (conv.outputs + OUTPUTS - 1) / OUTPUTS;
    }
    static __device__ uint32_t block_output(const Convolution &conv) {
        return blockIdx.x % output_tiles(conv) * OUTPUTS;
    }
    static __device__ uint32_t block_pixel(const Convolution &conv) {
        return blockIdx.x / output_tiles(conv) * PIXELS;
    }

    // A thread's share of a stage is one chunk of every ROWS-th row.
    static __device__ void begin_stage(Chunk *stage, const Window (&windows)[PIXELS / ROWS],
                                       const bf16 *weight, const Step &step,
                                       const Convolution &conv) {
        int chunk = threadIdx.x % STEP_CHUNKS, first_row = threadIdx.x / STEP_CHUNKS;
        uint32_t channel = step.channel + chunk * CHUNK;
        int left = (int)conv.inputs - (int)channel;
#pragma unroll
        for (int i = 0; i < PIXELS / ROWS; i++) {
            int row = windows[i].row + (int)step.row, column = windows[i].column + (int)step.column;
            bool inside = (uint32_t)row < conv.height << conv.doubled &&
                          (uint32_t)column < conv.width << conv.doubled;
            size_t pixel = (size_t)(row >> conv.doubled) * conv.width + (column >> conv.doubled);
            begin_channels<ALIGNED>(stage + place(first_row + i * ROWS, chunk),
                                    windows[i].item + pixel * conv.inputs + channel, left, inside);
        }
        uint32_t tap = step.row * conv.kernel + step.column, taps = conv.kernel * conv.kernel;
        uint32_t first_output = block_output(conv) + first_row;
#pragma unroll
        for (int i = 0; i < OUTPUTS / ROWS; i++) {
            uint32_t output = first_output + i * ROWS;
            const bf16 *from = weight + ((size_t)output * taps + tap) * conv.inputs + channel;
            begin_channels<ALIGNED>(stage + PIXEL_CHUNKS + place(first_row + i * ROWS, chunk), from,
                                    left, output < conv.outputs);
        }
    }

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
                pixels[m] = load_matrices(stage + place(pixel + 16 * m, 2 * k + lane / 16));
            }
#pragma unroll
            for (int n = 0; n < WARP_OUTPUTS / 16; n++) {
                int chunk = place(output + 16 * n, 2 * k + lane / 8 % 2);
                uint4 halves = load_matrices(stage + PIXEL_CHUNKS + chunk);
#pragma unroll
                for (int m = 0; m < WARP_PIXELS / 16; m++) {
                    multiply_add(sums[m][2 * n], pixels[m], halves.x, halves.y);
                    multiply_add(sums[m][2 * n + 1], pixels[m], halves.z, halves.w);
                }
            }
        }
    }

    // Two neighbouring outputs of a pixel, from `at` on, with what is added to them.
    static __device__ void write_pair(bf16 *out, const bf16 *residual, const bf16 *bias, size_t at,
                                      uint32_t output, const float *pair, uint32_t outputs) {
        if (outputs % 2 == 0 && output < outputs) {
            float first = pair[0] + __bfloat162float(bias[output]);
            float second = pair[1] + __bfloat162float(bias[output + 1]);
            if (residual) {
                uint32_t added = *(const uint32_t *)(residual + at);
                first += first_of(added), second += second_of(added);
            }
            *(uint32_t *)(out + at) = packed(first, second);
            return;
        }
        for (int i = 0; i < 2 && output + i < outputs; i++) {
            float value = pair[i] + __bfloat162float(bias[output + i]);
            if (residual) value += __bfloat162float(residual[at + i]);
            out[at + i] = __float2bfloat16(value);
        }
    }

    static __device__ void write(bf16 *out, const bf16 *residual, const bf16 *bias,
                                 const Sums &sums, const Convolution &conv) {
        int lane = threadIdx.x % WARP;
        uint32_t first_pixel = block_pixel(conv) + warp_pixel() + lane / 4;
        uint32_t first_output = block_output(conv) + warp_output() + lane % 4 * 2;
#pragma unroll
        for (int m = 0; m < WARP_PIXELS / 16; m++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                uint32_t pixel = first_pixel + 16 * m + 8 * half;
                if (pixel >= conv.out_pixels) continue;
#pragma unroll
                for (int n = 0; n < WARP_OUTPUTS / 8; n++) {
                    uint32_t output = first_output + 8 * n;
                    size_t at = (size_t)pixel * conv.outputs + output;
                    write_pair(out, residual, bias, at, output, &sums[m][n][2 * half],
                               conv.outputs);
                }
            }
        }
    }

    static __device__ void convolve(const bf16 *x, const bf16 *weight, const bf16 *bias,
                                    const bf16 *residual, bf16 *out, const Convolution &conv) {
        __shared__ Chunk stages[STAGES][STAGE_CHUNKS];
        Window windows[PIXELS / ROWS];
#pragma unroll
        for (int i = 0; i < PIXELS / ROWS; i++) {
            uint32_t row = threadIdx.x / STEP_CHUNKS + i * ROWS;
            windows[i] = window_of(x, block_pixel(conv) + row, conv);
        }
        Step next = {0, 0, 0};
        for (int stage = 0; stage < STAGES - 1; stage++) {
            if (next.row < conv.kernel) begin_stage(stages[stage], windows, weight, next, conv);
            advance(next, conv);
            end_group();
        }
        Sums sums = {};
        uint32_t tap_steps = (conv.inputs + STEP - 1) / STEP;
        uint32_t steps = conv.kernel * conv.kernel * tap_steps;
        int stage = 0, filled = STAGES - 1;
        for (uint32_t step = 0; step < steps; step++) {
            // This stage is here, and the one that is filled next is no longer in use.
            await_groups<STAGES - 2>();
            __syncthreads();
            if (next.row < conv.kernel) begin_stage(stages[filled], windows, weight, next, conv);
            advance(next, conv);
            end_group();
            multiply_stage(sums, stages[stage]);
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            filled = filled + 1 == STAGES ? 0 : filled + 1;
        }
        write(out, conv.has_residual ? residual : nullptr, bias, sums, conv);
    }
};

// `out` and `residual`, if there is one, are (b, out_height, out_width, outputs). Block (tile of the
// result).
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
