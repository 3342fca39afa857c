// What the convolutions share. A convolution is one product on tensor cores, whose left factor
// never stands in memory:
//
//   out (pixels, outputs) = windows (pixels, taps * inputs) x weight (outputs, taps * inputs)^T
//
// A row of `windows` is what the kernel sees from one pixel of the result, tap by tap. `x` is (b,
// height, width, inputs), so that a tap's channels are neighbours: they come in chunks, zeros where
// the window reaches beyond the picture. A block has a tile of the result, and goes along the sum
// in steps, each of one tap. The next steps' values come to other stages of the block's memory
// while this one's are multiplied.
//
// The chunks of a tile's rows are permuted, so that eight threads which read the same chunk of
// eight rows use all banks of the memory.
//
// candle's convolution writes the whole matrix of windows to memory, nine times its input, and reads
// it again for the product; the bias and the change of order are passes of their own.
#pragma once

#include <limits.h>

#include "tensor_cores.cuh"

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

// What a stage holds of the sum: values of one tap, from a channel on.
struct Step {
    uint32_t row, column, channel;
};

// What the kernel sees from one pixel: where it begins in the item.
struct Window {
    const bf16 *item;
    int row, column;
};

__device__ inline Window window_of(const bf16 *x, uint32_t pixel, const Convolution &conv) {
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

// THREADS that compute PIXELS x OUTPUTS of the result, in steps of STEP values of the sum. ALIGNED,
// if the inputs are whole chunks.
template <int PIXELS, int OUTPUTS, int THREADS, int STEP, bool ALIGNED> struct Tile {
    static const int STEP_CHUNKS = STEP / CHUNK;
    // Rows that are copied at once, a chunk by each thread.
    static const int ROWS = THREADS / STEP_CHUNKS;
    static const int PIXEL_CHUNKS = PIXELS * STEP_CHUNKS;
    static const int STAGE_CHUNKS = PIXEL_CHUNKS + OUTPUTS * STEP_CHUNKS;

    // Where chunk `chunk` of row `row` lies. A line of all banks has eight chunks.
    static __device__ int place(int row, int chunk) {
        const int line_rows = CHUNK / STEP_CHUNKS;
        return row * STEP_CHUNKS + (chunk ^ (row / line_rows % STEP_CHUNKS));
    }

    using Windows = Window[PIXELS / ROWS];

    // Those of the rows that the thread copies.
    static __device__ void find_windows(Windows &windows, const bf16 *x, const Convolution &conv) {
#pragma unroll
        for (int i = 0; i < PIXELS / ROWS; i++) {
            uint32_t row = threadIdx.x / STEP_CHUNKS + i * ROWS;
            windows[i] = window_of(x, block_pixel(conv) + row, conv);
        }
    }

    static __device__ uint32_t steps(const Convolution &conv) {
        return conv.kernel * conv.kernel * ((conv.inputs + STEP - 1) / STEP);
    }

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
    static __device__ void copy_step(Chunk *stage, const Windows &windows, const bf16 *weight,
                                     const Step &step, const Convolution &conv) {
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

    // Begins to copy what the next step needs, if there is one, as one group.
    static __device__ void begin_stage(Chunk *stage, const Windows &windows, const bf16 *weight,
                                       Step &next, const Convolution &conv) {
        if (next.row < conv.kernel) copy_step(stage, windows, weight, next, conv);
        end_group();
        next.channel += STEP;
        if (next.channel < conv.inputs) return;
        next.channel = 0;
        next.column++;
        if (next.column < conv.kernel) return;
        next.column = 0;
        next.row++;
    }
};

// Where a pixel's outputs are written, and what is added to them, which may be missing.
struct Row {
    bf16 *out;
    const bf16 *residual;
};

__device__ inline Row row_of(uint32_t pixel, bf16 *out, const bf16 *residual,
                             const Convolution &conv) {
    size_t at = (size_t)pixel * conv.outputs;
    return {out + at, conv.has_residual ? residual + at : nullptr};
}

// Writes a thread's two neighbouring outputs of a pixel.
__device__ inline void write_pair(const Row &row, const float *pair, const bf16 *bias,
                                  uint32_t output, const Convolution &conv) {
    if (conv.outputs % 2 == 0 && output < conv.outputs) {
        float first = pair[0] + __bfloat162float(bias[output]);
        float second = pair[1] + __bfloat162float(bias[output + 1]);
        if (row.residual) {
            uint32_t added = *(const uint32_t *)(row.residual + output);
            first += first_of(added), second += second_of(added);
        }
        *(uint32_t *)(row.out + output) = packed(first, second);
        return;
    }
    for (int i = 0; i < 2 && output + i < conv.outputs; i++) {
        float value = pair[i] + __bfloat162float(bias[output + i]);
        if (row.residual) value += __bfloat162float(row.residual[output + i]);
        row.out[output + i] = __float2bfloat16(value);
    }
}

// Writes a pixel's outputs from `output` on, 8 N of them, whose sums are those of multiply_add: of
// each eight the thread has two, 4 sums apart from the next eight's.
template <int N>
__device__ inline void write_row(const Row &row, const float *sums, const bf16 *bias,
                                 uint32_t output, const Convolution &conv) {
#pragma unroll
    for (int n = 0; n < N; n++) {
        write_pair(row, sums + 4 * n, bias, output + 8 * n + threadIdx.x % 4 * 2, conv);
    }
}
