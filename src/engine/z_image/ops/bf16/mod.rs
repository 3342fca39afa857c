//! Products with matrices that are kept in bf16, for f32 on a CPU: half the memory of f32.
//!
//! Where the processor multiplies pairs of bf16 and sums them in f32 (AVX-512 BF16), what is
//! multiplied is rounded to bf16 as well, as a card does it: that takes half the time. Elsewhere a
//! few rows of the matrix at a time become f32, and nothing is rounded.

mod rows;

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use self::rows::{HalfRows, are_multiplied, round};
use super::cpu::{values, zeros};
use super::dispatch::is_cpu_f32;
use super::matmul::{MatrixView, OutputPart, SharedOutput, matmul, matmul_add};
use crate::engine::Backend;

/// Of each factor, what a thread multiplies at a time: together half a core's second cache.
const BLOCK_BYTES: usize = 256 << 10;

/// The most values of a row that are summed at once: so much of a few rows of the matrix stays in
/// the first cache.
const PIECE_MAX: usize = 4096;

/// Pieces fill whole vectors.
const PIECE_MULTIPLE: usize = 32;

/// Whether this processor multiplies bf16.
pub fn multiplies_bf16() -> bool {
    are_multiplied()
}

/// Whether [`bf16_product`] is what multiplies these two.
pub fn is_bf16_beside_f32(weight: &Tensor, x: &Tensor) -> bool {
    is_cpu_f32(x) && weight.dtype() == DType::BF16
}

/// `x W^T` in f32: `x` (.., inputs) is f32, `weight` (outputs, inputs) bf16, both on the CPU.
///
/// Scratch: [`bf16_product_bytes`].
pub fn bf16_product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let rounds = are_multiplied();
    x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &Product { rounds })
}

/// What a product with a matrix of transformer or text encoder allocates beside its result on this
/// machine, for so many rows.
pub fn bf16_product_bytes(backend: Backend, rows: usize, inputs: usize) -> usize {
    match backend {
        Backend::Cpu { bf16: true, .. } if are_multiplied() => size_of::<bf16>() * rows * inputs,
        // A piece of the matrix in f32 for each thread.
        Backend::Cpu { bf16: true, threads } => threads * 2 * BLOCK_BYTES,
        Backend::Cpu { .. } | Backend::Cuda => 0,
    }
}

struct Product {
    /// Whether `x` is rounded, for a processor that multiplies bf16.
    rounds: bool,
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "bf16_product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::BF16(weight), Some((start, end))) =
            (weight, weight_layout.contiguous_offsets())
        else {
            bail!("a product was given a matrix that is not contiguous bf16");
        };
        let (outputs, inputs) = weight_layout.shape().dims2()?;
        let [outer @ .., width] = x_layout.dims() else { bail!("rows have a length") };
        if *width != inputs || inputs == 0 {
            bail!("rows of {width} values are not multiplied with rows of {inputs}");
        }
        let (x, weight) = (values(x, x_layout)?, &weight[start..end]);
        let factors = Factors { x, weight, count: x.len() / inputs, outputs, inputs };
        let product = if self.rounds { factors.rounded() } else { factors.widened() };
        Ok((CpuStorage::F32(product), Shape::from([outer, &[outputs]].concat())))
    }
}

/// Rows of `inputs` values: `count` of `x`, and `outputs` of the weight.
struct Factors<'a> {
    x: &'a [f32],
    weight: &'a [bf16],
    count: usize,
    outputs: usize,
    inputs: usize,
}

impl Factors<'_> {
    /// The product of bf16 with bf16: what is multiplied is rounded first.
    fn rounded(&self) -> Vec<f32> {
        let mut x = vec![bf16::ZERO; self.x.len()];
        let rows = x.par_chunks_mut(self.inputs).zip(self.x.par_chunks(self.inputs));
        rows.for_each(|(rounded, row)| round(row, rounded));
        let x = HalfRows::new(&x, self.inputs);
        let weight = HalfRows::new(self.weight, self.inputs);
        self.by_pieces(|piece, out| {
            let weight = weight.part(&piece.outputs, &piece.inputs);
            let side = block_side(piece.inputs.len());
            for rows in (0..self.count.div_ceil(side)).map(|nth| chunk(nth, side, self.count)) {
                // SAFETY: nobody else has these outputs, and there is one part at a time.
                let mut out = unsafe { self.part(out, &rows, &piece.outputs) };
                x.part(&rows, &piece.inputs).multiply(&weight, &mut out, piece.adds());
            }
        })
    }

    /// The product of f32 with f32: the weight is widened piece by piece.
    fn widened(&self) -> Vec<f32> {
        self.by_pieces(|piece, out| {
            let width = piece.inputs.len();
            let mut wide = vec![0.0; piece.outputs.len() * width];
            for (output, wide) in piece.outputs.clone().zip(wide.chunks_exact_mut(width)) {
                let row = &self.weight[output * self.inputs..][..self.inputs];
                row[piece.inputs.clone()].convert_to_f32_slice(wide);
            }
            let values = &self.x[piece.inputs.start..];
            let x = MatrixView { values, row_step: self.inputs, column_step: 1 };
            let weight = MatrixView { values: &wide, row_step: 1, column_step: width };
            // SAFETY: nobody else has these outputs.
            let mut out = unsafe { self.part(out, &(0..self.count), &piece.outputs) };
            match piece.adds() {
                true => matmul_add(&mut out, &x, &weight, width),
                false => matmul(&mut out, &x, &weight, width, 1.0),
            }
        })
    }

    /// The product, which `multiply` writes piece by piece. No two pieces with outputs in common
    /// are written at once.
    fn by_pieces(&self, multiply: impl Fn(&Piece, SharedOutput) + Sync) -> Vec<f32> {
        let mut product = zeros(self.count * self.outputs);
        let out = SharedOutput::new(&mut product);
        let pieces = self.inputs.div_ceil(PIECE_MAX);
        let length = self.inputs.div_ceil(pieces).next_multiple_of(PIECE_MULTIPLE);
        let pieces = self.inputs.div_ceil(length);
        let side = block_side(length);
        (0..self.outputs.div_ceil(side)).into_par_iter().for_each(|task| {
            let outputs = chunk(task, side, self.outputs);
            for inputs in (0..pieces).map(|nth| chunk(nth, length, self.inputs)) {
                multiply(&Piece { outputs: outputs.clone(), inputs }, out);
            }
        });
        product
    }

    /// The part of the product with these rows and outputs.
    ///
    /// # Safety
    /// As for [`SharedOutput::part`].
    unsafe fn part<'a>(
        &self,
        out: SharedOutput<'a>,
        rows: &Range<usize>,
        outputs: &Range<usize>,
    ) -> OutputPart<'a> {
        let offset = rows.start * self.outputs + outputs.start;
        // SAFETY: as the caller promises.
        unsafe { out.part(offset, self.outputs, (rows.len(), outputs.len())) }
    }
}

/// What is multiplied at a time: of these rows of the weight, these values.
struct Piece {
    outputs: Range<usize>,
    inputs: Range<usize>,
}

impl Piece {
    /// Whether the product of earlier values stands there already.
    fn adds(&self) -> bool {
        self.inputs.start > 0
    }
}

/// How many rows of so many values make a block.
fn block_side(width: usize) -> usize {
    (BLOCK_BYTES / size_of::<bf16>() / width).max(1).next_multiple_of(rows::TILE_ROWS)
}

/// The numbers of chunk `nth`, where `count` come in chunks of `length`.
fn chunk(nth: usize, length: usize, count: usize) -> Range<usize> {
    nth * length..count.min((nth + 1) * length)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::check::{relative_error, strided, values};
    use super::*;

    /// Of rows and outputs that fill no tile, and of rows that are longer than a piece.
    const SHAPES: [[usize; 3]; 5] =
        [[1, 1, 1], [7, 5, 33], [50, 130, 64], [13, 9, PIECE_MAX + 40], [200, 70, 2 * PIECE_MAX]];

    fn product(x: &Tensor, weight: &Tensor, rounds: bool) -> Tensor {
        x.apply_op2_no_bwd(weight, &Product { rounds }).expect("a product")
    }

    /// `x W^T` in f64.
    fn right(x: &Tensor, weight: &Tensor) -> Tensor {
        let [x, weight] = [x, weight].map(|values| values.to_dtype(DType::F64).expect("widens"));
        x.matmul(&weight.t().expect("a matrix")).expect("a product")
    }

    fn factors([rows, outputs, inputs]: [usize; 3]) -> (Tensor, Tensor) {
        let weight = values(&[outputs, inputs], 2).to_dtype(DType::BF16).expect("narrows");
        (values(&[rows, inputs], 1), weight)
    }

    #[test]
    fn without_rounding_the_product_is_that_of_f32() {
        for shape in SHAPES {
            let (x, weight) = factors(shape);
            let error = relative_error(&product(&x, &weight, false), &right(&x, &weight));
            assert!(error < 1e-5, "{shape:?}: {error:e}");
        }
    }

    #[test]
    fn rounded_the_product_is_that_of_bf16() {
        for shape in SHAPES {
            let (x, weight) = factors(shape);
            let rounded = x.to_dtype(DType::BF16).expect("narrows");
            let error = relative_error(&product(&x, &weight, true), &right(&rounded, &weight));
            assert!(error < 1e-5, "{shape:?}: {error:e}");
        }
    }

    #[test]
    fn every_shape_of_rows_is_multiplied_and_no_other_width() {
        let (x, weight) = factors([12, 5, 40]);
        let rows = bf16_product(&x.reshape((2, 6, 40)).expect("as many"), &weight);
        assert_eq!(rows.expect("a product").dims(), [2, 6, 5]);
        let strided = bf16_product(&strided(&x), &weight).expect("a product");
        assert!(relative_error(&strided, &right(&x, &weight)) < 0.01);
        let error = bf16_product(&values(&[3, 39], 1), &weight).expect_err("another width");
        assert!(error.to_string().contains("rows of 39 values"), "{error}");
        let f32s = weight.to_dtype(DType::F32).expect("widens");
        assert!(bf16_product(&x, &f32s).is_err());
        assert_eq!(x.device().location(), Device::Cpu.location());
    }
}
