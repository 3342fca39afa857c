//! Convolution for f32 on a CPU by im2col and a matrix product.
//!
//! im2col writes the input values under each output pixel as one row of a matrix. Its columns are
//! (kernel row, kernel column, input channel), as the weight's are:
//!
//! ```text
//! out (pixels, outputs) = matrix (pixels, kernel^2 * inputs) x weight (outputs, kernel^2 * inputs)^T
//! ```
//!
//! The whole matrix would be kernel^2 times as large as the input. So each thread takes a band of
//! output pixels, and of their rows a few columns at a time: these stay in the core's own cache
//! between being written and being multiplied.

use std::ops::Range;

use rayon::prelude::*;

use super::conv_shape::{ConvShape, Sliding};
use super::cpu::zeros;
use super::matmul::{MatrixView, OutputPart, SharedOutput, matmul_add};

/// Output pixels of a band: enough that packing the weight anew for each band costs little.
const BAND_PIXELS: usize = 512;

/// The most columns of the matrix that stand in memory for a band: half a megabyte with its pixels,
/// which is about half of a core's second cache.
const CHUNK_COLUMNS: usize = 256;

/// `x` (batch, height, width, inputs) convolved with `weight` (outputs, kernel, kernel, inputs),
/// plus `bias` (outputs), plus `residual`.
///
/// Scratch: [`scratch_bytes`].
pub(super) fn convolve(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    shape: &ConvShape,
) -> Vec<f32> {
    let plane = shape.out_plane();
    let mut out = zeros(shape.batch * plane * shape.outputs);
    let output = SharedOutput::new(&mut out);
    let band = band_pixels(plane, rayon::current_num_threads());
    let bands = plane.div_ceil(band);
    let scratch = chunk_columns(shape.inputs, shape.kernel) * band;
    let convolve_band = |matrix: &mut Vec<f32>, task: usize| {
        let (item, first) = (task / bands, task % bands * band);
        let pixels = first..(first + band).min(plane);
        let offset = (item * plane + first) * shape.outputs;
        // SAFETY: no other task has these pixels of this item.
        let mut out = unsafe { output.part(offset, shape.outputs, (pixels.len(), shape.outputs)) };
        begin(&mut out, bias, residual.map(|residual| &residual[offset..]));
        let x = &x[item * shape.item()..][..shape.item()];
        Band { shape, pixels }.convolve(x, weight, matrix, &mut out);
    };
    (0..shape.batch * bands).into_par_iter().for_each_init(|| vec![0.0; scratch], convolve_band);
    out
}

/// What [`convolve`] of a `kernel` by `kernel` weight allocates beside its result of `pixels`: the
/// part of the matrix that each thread works on.
pub(super) fn scratch_bytes(threads: usize, pixels: usize, inputs: usize, kernel: usize) -> usize {
    4 * threads * chunk_columns(inputs, kernel) * band_pixels(pixels, threads)
}

/// [`BAND_PIXELS`], but a share for each thread where there are few.
fn band_pixels(plane: usize, threads: usize) -> usize {
    plane.div_ceil(threads).min(BAND_PIXELS)
}

/// Columns of the matrix that are multiplied together.
fn chunk_columns(inputs: usize, kernel: usize) -> usize {
    (inputs * kernel.pow(2)).min(CHUNK_COLUMNS)
}

/// What the product is added to.
fn begin(out: &mut OutputPart, bias: &[f32], residual: Option<&[f32]>) {
    for (pixel, row) in out.rows_mut().enumerate() {
        row.copy_from_slice(bias);
        if let Some(residual) = residual {
            let added = &residual[pixel * row.len()..];
            row.iter_mut().zip(added).for_each(|(value, added)| *value += added);
        }
    }
}

/// Some pixels of one item's result, counted row by row.
struct Band<'a> {
    shape: &'a ConvShape,
    pixels: Range<usize>,
}

impl Band<'_> {
    /// Adds up in `out` (pixels, outputs) what each chunk of the columns gives.
    fn convolve(&self, x: &[f32], weight: &[f32], matrix: &mut [f32], out: &mut OutputPart) {
        let window = self.shape.window();
        let chunk = chunk_columns(self.shape.inputs, self.shape.kernel);
        for first in (0..window).step_by(chunk) {
            let columns = first..(first + chunk).min(window);
            let matrix = &mut matrix[..columns.len() * self.pixels.len()];
            self.im2col(x, &columns, matrix);
            let matrix = MatrixView { values: matrix, row_step: columns.len(), column_step: 1 };
            let weight = MatrixView { values: &weight[first..], row_step: window, column_step: 1 };
            matmul_add(out, &matrix, &weight.transposed(), columns.len());
        }
    }

    /// Writes some `columns` of the matrix (pixels, columns) from `x` (height, width, inputs).
    fn im2col(&self, x: &[f32], columns: &Range<usize>, matrix: &mut [f32]) {
        let inputs = self.shape.inputs;
        for tap in columns.start / inputs..columns.end.div_ceil(inputs) {
            let start = columns.start.max(tap * inputs);
            let end = columns.end.min((tap + 1) * inputs);
            let part = Part {
                tap_row: tap / self.shape.kernel,
                tap_column: tap % self.shape.kernel,
                channels: start - tap * inputs..end - tap * inputs,
                row_step: columns.len(),
            };
            self.copy_part(x, &part, &mut matrix[start - columns.start..]);
        }
    }

    /// Writes the columns of one tap; `matrix` begins with the first of them.
    fn copy_part(&self, x: &[f32], part: &Part, matrix: &mut [f32]) {
        let ConvShape { width, inputs, .. } = *self.shape;
        let mut rows = matrix.chunks_mut(part.row_step);
        for (out_row, out_columns) in self.segments() {
            let line = self.inside(out_row, part.tap_row, self.shape.height);
            let line = line.map(|row| &x[row * width * inputs..][..width * inputs]);
            for (out_column, row) in out_columns.zip(&mut rows) {
                let column = self.inside(out_column, part.tap_column, width);
                let to = &mut row[..part.channels.len()];
                match line.zip(column) {
                    Some((line, column)) => {
                        to.copy_from_slice(&line[column * inputs..][part.channels.clone()]);
                    }
                    None => to.fill(0.0),
                }
            }
        }
    }

    /// Where among `length` rows or columns of the input a tap is, seen from one of the result;
    /// `None` among the zeros around them.
    fn inside(&self, out: usize, tap: usize, length: usize) -> Option<usize> {
        let Sliding { stride, before, .. } = self.shape.sliding;
        let at = (out * stride + tap).checked_sub(before)? / self.shape.sliding.scale();
        (at < length).then_some(at)
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

/// Some channels that one tap of the kernel sees.
struct Part {
    tap_row: usize,
    tap_column: usize,
    channels: Range<usize>,
    /// How far apart the rows of the matrix are.
    row_step: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_the_values_under_its_pixel() {
        let shape = ConvShape {
            batch: 1,
            inputs: 2,
            outputs: 1,
            kernel: 3,
            sliding: Sliding::dense(1),
            height: 2,
            width: 3,
        };
        let x: Vec<f32> = (1..=6).flat_map(|pixel| [pixel as f32, 10.0 * pixel as f32]).collect();
        // The last pixel of the first row and the first of the second; one channel of the first
        // tap is left out.
        let mut matrix = [9.0; 34];
        Band { shape: &shape, pixels: 2..4 }.im2col(&x, &(1..18), &mut matrix);
        let taps = |row: &[f32]| row.iter().step_by(2).copied().collect::<Vec<_>>();
        let (first, second) = matrix.split_at(17);
        assert_eq!(taps(first), [0.0, 0.0, 0.0, 20.0, 30.0, 0.0, 50.0, 60.0, 0.0]);
        assert_eq!(taps(second), [0.0, 10.0, 20.0, 0.0, 40.0, 50.0, 0.0, 0.0, 0.0]);
        assert_eq!(taps(&second[1..]), [1.0, 2.0, 0.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
    }
}
