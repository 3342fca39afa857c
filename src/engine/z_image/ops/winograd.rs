//! 3x3 convolution by Winograd's F(4x4, 3x3) in f32: a tile of 4 by 4 outputs from a patch of 6 by
//! 6 inputs with 36 multiplications for each pair of channels, where the sum over the window takes
//! 144.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015): `Y = A^T [(G g G^T)
//! * (B^T d B)] A`. The sum over the input channels makes each of the 36 points a matrix product.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::cpu::{vectorised, zeros};

/// Side of a tile of outputs.
const TILE: usize = 4;
/// Side of the patch of inputs under a tile.
const PATCH: usize = TILE + 2;
/// Points at which the transformed patch and window are multiplied.
const POINTS: usize = PATCH * PATCH;
/// Tiles transformed together: four vectors of 16 lanes, so that a block of the product fills
/// AVX-512's registers.
const BLOCK: usize = 64;
/// Output channels of one block of the product.
const ROWS: usize = 6;
/// Products are padded to this many tiles: the lanes of the widest vector.
const LANES: usize = 16;

/// The sizes of one convolution with stride 1.
pub(super) struct Sizes {
    pub batch: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub height: usize,
    pub width: usize,
    pub padding: usize,
}

impl Sizes {
    pub fn out_height(&self) -> usize {
        self.height + 2 * self.padding - 2
    }

    pub fn out_width(&self) -> usize {
        self.width + 2 * self.padding - 2
    }
}

/// `x` (batch, inputs, height, width) convolved with `weight` (outputs, inputs, 3, 3), plus `bias`
/// (outputs).
///
/// Scratch: [`scratch_bytes`].
pub(super) fn convolve(x: &[f32], weight: &[f32], bias: &[f32], sizes: &Sizes) -> Vec<f32> {
    let weight = transform_weight(sizes, weight);
    let (height, width) = (sizes.out_height(), sizes.out_width());
    let mut out = zeros(sizes.batch * sizes.outputs * height * width);
    let items = x.chunks_exact(sizes.inputs * sizes.height * sizes.width);
    for (x, out) in items.zip(out.chunks_exact_mut(sizes.outputs * height * width)) {
        convolve_item(sizes, x, &weight, bias, out);
    }
    out
}

/// What [`convolve`] allocates beside its result: the transformed weight, and the points of a block
/// for each thread.
pub(super) fn scratch_bytes(threads: usize, inputs: usize, outputs: usize) -> usize {
    let padded_outputs = outputs.next_multiple_of(ROWS);
    let block = point_step(inputs, BLOCK) + point_step(padded_outputs, BLOCK);
    4 * POINTS * (padded_outputs * inputs + threads * block)
}

/// One item of the batch: bands of tile rows in parallel.
fn convolve_item(sizes: &Sizes, x: &[f32], weight: &[[f32; ROWS]], bias: &[f32], out: &mut [f32]) {
    let width = sizes.out_width();
    let tile_rows = sizes.out_height().div_ceil(TILE);
    let tile_columns = width.div_ceil(TILE);
    let mut strips: Vec<Vec<&mut [f32]>> =
        (0..tile_rows).map(|_| Vec::with_capacity(sizes.outputs)).collect();
    for plane in out.chunks_exact_mut(sizes.out_height() * width) {
        for (strip, strips) in plane.chunks_mut(TILE * width).zip(&mut strips) {
            strips.push(strip);
        }
    }
    let fair_share = tile_rows.div_ceil(rayon::current_num_threads());
    let band = (BLOCK / tile_columns).clamp(1, fair_share);
    let columns = tile_columns.div_ceil(tile_columns.div_ceil(BLOCK / band));
    strips.par_chunks_mut(band).enumerate().for_each_init(
        || Scratch::new(sizes),
        |scratch, (index, strips)| {
            for first_column in (0..tile_columns).step_by(columns) {
                let columns = columns.min(tile_columns - first_column);
                let block =
                    Block { first_row: index * band, rows: strips.len(), first_column, columns };
                transform_inputs(sizes, &block, x, &mut scratch.inputs);
                pulp::Arch::new().dispatch(Products { sizes, block: &block, weight, scratch });
                transform_outputs(sizes, &block, &scratch.outputs, bias, strips);
            }
        },
    );
}

/// Tiles computed together: a rectangle of at most [`BLOCK`].
struct Block {
    first_row: usize,
    rows: usize,
    first_column: usize,
    columns: usize,
}

impl Block {
    /// Tiles rounded up to whole vectors.
    fn lanes(&self) -> usize {
        (self.rows * self.columns).next_multiple_of(LANES)
    }
}

/// The points of a block's tiles: `[point][channel][tile]`.
struct Scratch {
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

impl Scratch {
    fn new(sizes: &Sizes) -> Scratch {
        let padded_outputs = sizes.outputs.next_multiple_of(ROWS);
        Scratch {
            inputs: zeros(POINTS * point_step(sizes.inputs, BLOCK)),
            outputs: zeros(POINTS * point_step(padded_outputs, BLOCK)),
        }
    }
}

/// Values from one point to the next. A cache line more than needed: with a power of two all 36
/// points of a tile would fall into the same few lines of the cache.
fn point_step(channels: usize, lanes: usize) -> usize {
    channels * lanes + LANES
}

/// `G g G^T` for each pair of channels, as `[point][block of outputs][input][output in the block]`.
fn transform_weight(sizes: &Sizes, weight: &[f32]) -> Vec<[f32; ROWS]> {
    let blocks = sizes.outputs.div_ceil(ROWS);
    let mut transformed = vec![[0.0; ROWS]; POINTS * blocks * sizes.inputs];
    let mut by_block: Vec<Vec<&mut [[f32; ROWS]]>> =
        (0..blocks).map(|_| Vec::with_capacity(POINTS)).collect();
    for point in transformed.chunks_exact_mut(blocks * sizes.inputs) {
        for (chunk, points) in point.chunks_exact_mut(sizes.inputs).zip(&mut by_block) {
            points.push(chunk);
        }
    }
    by_block.par_iter_mut().enumerate().for_each(|(block, points)| {
        for output in block * ROWS..(block * ROWS + ROWS).min(sizes.outputs) {
            for input in 0..sizes.inputs {
                let window = &weight[(output * sizes.inputs + input) * 9..][..9];
                let window_points = transform_window(window);
                for (point, value) in points.iter_mut().zip(window_points.as_flattened()) {
                    point[input][output % ROWS] = *value;
                }
            }
        }
    });
    transformed
}

/// `G g G^T` of one 3x3 window.
fn transform_window(window: &[f32]) -> [[f32; PATCH]; PATCH] {
    let g = |a: f32, b: f32, c: f32| {
        let (outer, wide) = (a + c, a + 4.0 * c);
        [
            a / 4.0,
            -(outer + b) / 6.0,
            -(outer - b) / 6.0,
            (wide + 2.0 * b) / 24.0,
            (wide - 2.0 * b) / 24.0,
            c,
        ]
    };
    let columns: [[f32; PATCH]; 3] =
        std::array::from_fn(|x| g(window[x], window[3 + x], window[6 + x]));
    std::array::from_fn(|y| g(columns[0][y], columns[1][y], columns[2][y]))
}

vectorised! {
    /// `B^T d B` for each patch and input channel of the block.
    fn transform_inputs(sizes: &Sizes, block: &Block, x: &[f32], points: &mut [f32]) {
        let lanes = block.lanes();
        let step = point_step(sizes.inputs, lanes);
        let mut lines = [[[0.0; BLOCK + 1]; TILE]; PATCH];
        for (channel, plane) in x.chunks_exact(sizes.height * sizes.width).enumerate() {
            for row in 0..block.rows {
                load_patches(sizes, block, plane, block.first_row + row, &mut lines);
                transform_lines(&mut lines, block.columns + 1);
                for (y, line) in lines.iter().enumerate() {
                    let first = y * PATCH * step + channel * lanes + row * block.columns;
                    transform_along(line, block.columns, &mut points[first..], step);
                }
            }
        }
    }
}

/// The six lines of pixels under a row of tiles, zero outside the picture: in each, the columns by
/// their place in the tile, as `[line][column % 4][column / 4]`.
#[inline(always)]
fn load_patches(
    sizes: &Sizes,
    block: &Block,
    plane: &[f32],
    tile_row: usize,
    lines: &mut [[[f32; BLOCK + 1]; TILE]; PATCH],
) {
    // Places in a line count from the padding's first pixel.
    let first = block.first_column * TILE;
    let count = (block.columns + 1) * TILE;
    let start = sizes.padding.saturating_sub(first).min(count);
    let end = (sizes.width + sizes.padding).saturating_sub(first).clamp(start, count);
    let mut pixels = [0.0; (BLOCK + 1) * TILE];
    for (y, line) in lines.iter_mut().enumerate() {
        let shifted = tile_row * TILE + y;
        if shifted >= sizes.padding && shifted < sizes.height + sizes.padding && start < end {
            let from = (shifted - sizes.padding) * sizes.width + first + start - sizes.padding;
            pixels[start..end].copy_from_slice(&plane[from..][..end - start]);
        } else {
            pixels[start..end].fill(0.0);
        }
        for (column, pixels) in pixels.as_chunks::<TILE>().0[..=block.columns].iter().enumerate() {
            for (line, &pixel) in line.iter_mut().zip(pixels) {
                line[column] = pixel;
            }
        }
    }
}

/// `B^T` down the six lines.
#[inline(always)]
fn transform_lines(lines: &mut [[[f32; BLOCK + 1]; TILE]; PATCH], columns: usize) {
    for place in 0..TILE {
        for column in 0..columns {
            let transformed = transform_patch(std::array::from_fn(|y| lines[y][place][column]));
            for (line, value) in lines.iter_mut().zip(transformed) {
                line[place][column] = value;
            }
        }
    }
}

/// `B^T` along one line, to six points `step` apart: the patch of tile t is its four columns and
/// two of tile t + 1.
///
/// Writes whole vectors: beyond the last tile go values that the next row or channel overwrites, or
/// that lie in what [`point_step`] adds.
#[inline(always)]
fn transform_along(
    line: &[[f32; BLOCK + 1]; TILE],
    columns: usize,
    points: &mut [f32],
    step: usize,
) {
    for first in (0..columns).step_by(LANES) {
        let mut vectors = [[0.0; LANES]; PATCH];
        for lane in 0..LANES {
            let t = first + lane;
            let patch =
                [line[0][t], line[1][t], line[2][t], line[3][t], line[0][t + 1], line[1][t + 1]];
            for (vector, value) in vectors.iter_mut().zip(transform_patch(patch)) {
                vector[lane] = value;
            }
        }
        for (x, vector) in vectors.iter().enumerate() {
            points[x * step + first..][..LANES].copy_from_slice(vector);
        }
    }
}

/// `B^T d` of six values.
#[inline(always)]
fn transform_patch(d: [f32; PATCH]) -> [f32; PATCH] {
    let (even, odd) = (d[4] - 4.0 * d[2], d[3] - 4.0 * d[1]);
    let (even_far, odd_far) = (d[4] - d[2], 2.0 * (d[3] - d[1]));
    [
        4.0 * d[0] - 5.0 * d[2] + d[4],
        even + odd,
        even - odd,
        even_far + odd_far,
        even_far - odd_far,
        4.0 * d[1] - 5.0 * d[3] + d[5],
    ]
}

vectorised! {
    /// `A^T [..] A` for each tile and output channel of the block, plus bias, into the block's part
    /// of `strips` (`[tile row][output]`, each four rows of pixels, fewer at the bottom).
    fn transform_outputs(sizes: &Sizes, block: &Block, points: &[f32], bias: &[f32], strips: &mut [Vec<&mut [f32]>]) {
        let lanes = block.lanes();
        let step = point_step(sizes.outputs.next_multiple_of(ROWS), lanes);
        let first = block.first_column * TILE;
        let count = (block.columns * TILE).min(sizes.out_width() - first);
        let mut lines = [[[0.0; BLOCK]; PATCH]; TILE];
        for (row, strips) in strips.iter_mut().enumerate() {
            for (channel, (strip, &bias)) in strips.iter_mut().zip(bias).enumerate() {
                let at = channel * lanes + row * block.columns;
                for x in 0..PATCH {
                    let column: [&[f32]; PATCH] =
                        std::array::from_fn(|y| &points[(y * PATCH + x) * step + at..][..block.columns]);
                    for t in 0..block.columns {
                        let sums = transform_tile(std::array::from_fn(|y| column[y][t]));
                        for (line, sum) in lines.iter_mut().zip(sums) {
                            line[x][t] = sum;
                        }
                    }
                }
                for (line, out) in lines.iter().zip(strip.chunks_exact_mut(sizes.out_width())) {
                    let pixels_of = |t: usize| {
                        transform_tile(std::array::from_fn(|x| line[x][t])).map(|sum| sum + bias)
                    };
                    let (whole, rest) = out[first..][..count].as_chunks_mut::<TILE>();
                    for (t, pixels) in whole.iter_mut().enumerate() {
                        *pixels = pixels_of(t);
                    }
                    if !rest.is_empty() {
                        rest.copy_from_slice(&pixels_of(whole.len())[..rest.len()]);
                    }
                }
            }
        }
    }
}

/// `A^T m` of six values.
#[inline(always)]
fn transform_tile(m: [f32; PATCH]) -> [f32; TILE] {
    let (near_sum, near_difference) = (m[1] + m[2], m[1] - m[2]);
    let (far_sum, far_difference) = (m[3] + m[4], m[3] - m[4]);
    [
        m[0] + near_sum + far_sum,
        near_difference + 2.0 * far_difference,
        near_sum + 4.0 * far_sum,
        near_difference + 8.0 * far_difference + m[5],
    ]
}

/// At each point, outputs by tiles = outputs by inputs times inputs by tiles.
struct Products<'a> {
    sizes: &'a Sizes,
    block: &'a Block,
    weight: &'a [[f32; ROWS]],
    scratch: &'a mut Scratch,
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Products { sizes, block, weight, scratch } = self;
        let (lanes, blocks) = (block.lanes(), sizes.outputs.div_ceil(ROWS));
        let in_points = scratch.inputs.chunks_exact(point_step(sizes.inputs, lanes));
        let out_points = scratch.outputs.chunks_exact_mut(point_step(blocks * ROWS, lanes));
        let weights = weight.chunks_exact(blocks * sizes.inputs);
        for ((inputs, outputs), weight) in in_points.zip(out_points).zip(weights) {
            let by_block =
                weight.chunks_exact(sizes.inputs).zip(outputs.chunks_exact_mut(ROWS * lanes));
            for (weight, outputs) in by_block {
                multiply_rows(simd, weight, &inputs[..sizes.inputs * lanes], outputs, lanes);
            }
        }
    }
}

/// [`ROWS`] rows of outputs, in panels as wide as the registers hold.
#[inline(always)]
fn multiply_rows<S: Simd>(
    simd: S,
    weight: &[[f32; ROWS]],
    inputs: &[f32],
    outputs: &mut [f32],
    lanes: usize,
) {
    let widest = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
    let mut column = 0;
    while column < lanes {
        let vectors = ((lanes - column) / S::F32_LANES).min(widest);
        match vectors {
            4 => multiply_panel::<S, 4>(simd, weight, inputs, outputs, lanes, column),
            3 => multiply_panel::<S, 3>(simd, weight, inputs, outputs, lanes, column),
            2 => multiply_panel::<S, 2>(simd, weight, inputs, outputs, lanes, column),
            _ => multiply_panel::<S, 1>(simd, weight, inputs, outputs, lanes, column),
        }
        column += vectors * S::F32_LANES;
    }
}

/// The panel of [`ROWS`] rows and `N` vectors from `column` on, summed in registers.
#[inline(always)]
fn multiply_panel<S: Simd, const N: usize>(
    simd: S,
    weight: &[[f32; ROWS]],
    inputs: &[f32],
    outputs: &mut [f32],
    lanes: usize,
    column: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); N]; ROWS];
    for (weights, inputs) in weight.iter().zip(inputs.chunks_exact(lanes)) {
        let inputs = &S::as_simd_f32s(&inputs[column..][..N * S::F32_LANES]).0[..N];
        for (sums, &weight) in sums.iter_mut().zip(weights) {
            let weight = simd.splat_f32s(weight);
            for (sum, &input) in sums.iter_mut().zip(inputs) {
                *sum = simd.mul_add_f32s(weight, input, *sum);
            }
        }
    }
    for (sums, outputs) in sums.iter().zip(outputs.chunks_exact_mut(lanes)) {
        let outputs = S::as_mut_simd_f32s(&mut outputs[column..][..N * S::F32_LANES]).0;
        outputs.copy_from_slice(sums);
    }
}
