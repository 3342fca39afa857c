//! Convolution for f32 on a CPU by im2col and a matrix product.
//!
//! im2col writes the input values under each output pixel as one column of a matrix. Its rows are
//! (input channel, kernel row, kernel column), as the weight's columns are:
//!
//! ```text
//! out (outputs, pixels) = weight (outputs, inputs * kernel^2) x matrix (inputs * kernel^2, pixels)
//! ```
//!
//! The whole matrix would be kernel^2 times as large as the input. So each thread takes a band of
//! output pixels, and of their columns the values of a few input channels at a time: these stay in
//! the core's own cache between being written and being multiplied.

use std::ops::Range;

use rayon::prelude::*;

use super::conv_shape::{ConvShape, Sliding};
use super::cpu::zeros;
use super::matmul::{MatrixView, OutputPart, SharedOutput, matmul_add};

/// Output pixels of a band: enough that packing the weight anew for each band costs little.
const BAND_PIXELS: usize = 512;

/// The most rows of the matrix that stand in memory for a band: half a megabyte with its pixels,
/// which is about half of a core's second cache.
const CHUNK_ROWS: usize = 256;

/// `x` (batch, inputs, height, width) convolved with `weight` (outputs, inputs, kernel, kernel),
/// plus `bias` (outputs).
///
/// Scratch: [`scratch_bytes`].
pub(super) fn convolve(x: &[f32], weight: &[f32], bias: &[f32], shape: &ConvShape) -> Vec<f32> {
    let plane = shape.out_plane();
    let mut out = zeros(shape.batch * shape.outputs * plane);
    let output = SharedOutput::new(&mut out);
    let band = band_pixels(plane, rayon::current_num_threads());
    let bands = plane.div_ceil(band);
    let scratch = chunk_channels(shape.inputs, shape.kernel) * shape.kernel.pow(2) * band;
    let convolve_band = |matrix: &mut Vec<f32>, task: usize| {
        let item = task / bands;
        let first = task % bands * band;
        let pixels = first..(first + band).min(plane);
        let offset = item * shape.outputs * plane + first;
        // SAFETY: no other task has these pixels of this item.
        let mut out = unsafe { output.part(offset, plane, (shape.outputs, pixels.len())) };
        let x = &x[item * shape.inputs * shape.height * shape.width..];
        Band { shape, pixels }.convolve(x, weight, bias, matrix, &mut out);
    };
    (0..shape.batch * bands).into_par_iter().for_each_init(|| vec![0.0; scratch], convolve_band);
    out
}

/// What [`convolve`] of a `kernel` by `kernel` weight allocates beside its result of `pixels`: the
/// part of the matrix that each thread works on.
pub(super) fn scratch_bytes(threads: usize, pixels: usize, inputs: usize, kernel: usize) -> usize {
    let rows = chunk_channels(inputs, kernel) * kernel.pow(2);
    4 * threads * rows * band_pixels(pixels, threads)
}

/// [`BAND_PIXELS`], but a share for each thread where there are few.
fn band_pixels(plane: usize, threads: usize) -> usize {
    plane.div_ceil(threads).min(BAND_PIXELS)
}

/// Input channels that are multiplied together.
fn chunk_channels(inputs: usize, kernel: usize) -> usize {
    (CHUNK_ROWS / kernel.pow(2)).clamp(1, inputs)
}

/// Some pixels of one item's result, counted row by row.
struct Band<'a> {
    shape: &'a ConvShape,
    pixels: Range<usize>,
}

impl Band<'_> {
    /// Adds up in `out` (outputs, pixels) what each chunk of the input channels gives.
    fn convolve(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        matrix: &mut [f32],
        out: &mut OutputPart,
    ) {
        let shape = self.shape;
        for (row, &bias) in out.rows_mut().zip(bias) {
            row.fill(bias);
        }
        let taps = shape.kernel.pow(2);
        let chunk = chunk_channels(shape.inputs, shape.kernel);
        for first in (0..shape.inputs).step_by(chunk) {
            let rows = chunk.min(shape.inputs - first) * taps;
            let matrix = &mut matrix[..rows * self.pixels.len()];
            self.im2col(&x[first * shape.height * shape.width..], matrix);
            let weight = &weight[first * taps..];
            let weight = MatrixView { values: weight, row_step: shape.column(), column_step: 1 };
            let matrix = MatrixView { values: matrix, row_step: self.pixels.len(), column_step: 1 };
            matmul_add(out, &weight, &matrix, rows);
        }
    }

    /// Writes `matrix` (channels, kernel, kernel, pixels) from the first channels of `x`.
    fn im2col(&self, x: &[f32], matrix: &mut [f32]) {
        let shape = self.shape;
        let plane = shape.height * shape.width;
        let taps = shape.kernel.pow(2);
        let Sliding { stride, before, .. } = shape.sliding;
        for (row, mut line) in matrix.chunks_exact_mut(self.pixels.len()).enumerate() {
            let x = &x[row / taps * plane..][..plane];
            let kernel_row = row % taps / shape.kernel;
            let kernel_column = row % shape.kernel;
            for (out_row, out_columns) in self.segments() {
                let segment;
                (segment, line) = line.split_at_mut(out_columns.len());
                let padded_row = out_row * stride + kernel_row;
                if (before..before + shape.height).contains(&padded_row) {
                    let source = &x[(padded_row - before) * shape.width..][..shape.width];
                    let first = out_columns.start * stride + kernel_column;
                    match stride {
                        1 => copy_padded(source, before, first, segment),
                        _ => copy_strided(source, before, first, stride, segment),
                    }
                } else {
                    segment.fill(0.0);
                }
            }
        }
    }

    /// The rows of the result that the band touches, each with the columns that the band has of it.
    fn segments(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let width = self.shape.out_width();
        let pixels = self.pixels.clone();
        (pixels.start / width..pixels.end.div_ceil(width)).map(move |row| {
            let start = pixels.start.max(row * width);
            let end = pixels.end.min((row + 1) * width);
            (row, start - row * width..end - row * width)
        })
    }
}

/// Copies into `out` from `source` with `padding` zeros on both sides, from the value `first` of
/// the padded row on.
fn copy_padded(source: &[f32], padding: usize, first: usize, out: &mut [f32]) {
    let inside = padding.max(first)..(padding + source.len()).min(first + out.len());
    if inside.is_empty() {
        return out.fill(0.0);
    }
    out[..inside.start - first].fill(0.0);
    out[inside.start - first..inside.end - first]
        .copy_from_slice(&source[inside.start - padding..inside.end - padding]);
    out[inside.end - first..].fill(0.0);
}

/// As [`copy_padded`], of which only every `stride`-th value is copied.
fn copy_strided(source: &[f32], padding: usize, first: usize, stride: usize, out: &mut [f32]) {
    for (value, padded) in out.iter_mut().zip((first..).step_by(stride)) {
        let inside = padded.checked_sub(padding).and_then(|at| source.get(at));
        *value = inside.copied().unwrap_or(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_row_is_copied_from_any_place_in_it() {
        let padded = [0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0];
        for first in 0..padded.len() {
            for length in 1..=padded.len() - first {
                let mut out = vec![9.0; length];
                copy_padded(&[1.0, 2.0, 3.0], 2, first, &mut out);
                assert_eq!(out, padded[first..][..length]);
            }
        }
    }

    #[test]
    fn each_column_has_the_values_under_its_pixel() {
        let shape = ConvShape {
            batch: 1,
            inputs: 1,
            outputs: 1,
            kernel: 3,
            sliding: Sliding::dense(1),
            height: 2,
            width: 3,
        };
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        // The last pixel of the first row and the first of the second.
        let mut matrix = [9.0; 18];
        Band { shape: &shape, pixels: 2..4 }.im2col(&x, &mut matrix);
        let column =
            |pixel: usize| matrix.iter().skip(pixel).step_by(2).copied().collect::<Vec<_>>();
        assert_eq!(column(0), [0.0, 0.0, 0.0, 2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
        assert_eq!(column(1), [0.0, 1.0, 2.0, 0.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
    }
}
