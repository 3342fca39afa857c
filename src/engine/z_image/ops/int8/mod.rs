//! Rows of numbers of eight bits: weights and activations whose products are whole numbers.
//!
//! A row is rotated ([`rotation`]) and then rounded to 127 levels each way of its largest value,
//! with one f32 scale. So a product of two rows is an exact sum of whole numbers in 32 bits, times
//! both scales. candle's own product of quantised matrices rounds activations by blocks with f16
//! scales, which overflow in this model.

mod product;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, Device, Layout, Result, Shape};
use candle_core::{Tensor, bail};
use half::bf16;
use rayon::prelude::*;

use self::product::{RowsView, TILE_BYTES, product};
use super::cpu::{self, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
use crate::engine::Backend;
use crate::engine::z_image::rotation::{self, group_of};

/// Levels each way of zero.
const LEVELS: f32 = 127.0;

/// Bytes of a row's scale.
const SCALE_BYTES: usize = size_of::<f32>();

/// Values that one parallel task rounds, about.
const TASK_VALUES: usize = 16 << 10;

/// Rotated rows of eight bits, each with its scale: a matrix (outputs, inputs), or activations.
pub struct Int8Rows {
    /// All rows, then all scales, in a tensor of bf16, of which only the bytes count: layers that
    /// are streamed are views into one tensor of that type.
    bits: Tensor,
    count: usize,
    width: usize,
}

impl Int8Rows {
    /// Whether rows of so many values can be kept like this.
    pub fn can_have(width: usize) -> bool {
        group_of(width).is_some()
    }

    /// How many bf16 values `count` rows of `width` values take.
    pub fn length(count: usize, width: usize) -> usize {
        count * (width + SCALE_BYTES) / size_of::<bf16>()
    }

    /// Those of which `bits` are the rows and scales.
    pub fn new(bits: Tensor, [count, width]: [usize; 2]) -> Result<Int8Rows> {
        if bits.dims1()? != Int8Rows::length(count, width) || !Int8Rows::can_have(width) {
            bail!("{:?} are not {count} rows of {width} numbers of 8 bits", bits.shape());
        }
        Ok(Int8Rows { bits, count, width })
    }

    /// The rows of `x` (.., width), f32 on a CPU or bf16 on a card.
    pub fn of(x: &Tensor) -> Result<Int8Rows> {
        let width = x.dim(D::Minus1)?;
        let count = x.elem_count() / width.max(1);
        Int8Rows::new(x.contiguous()?.apply_op1_no_bwd(&Quantise)?, [count, width])
    }

    /// Those of a matrix on the host, put on `device`. `read` fills rows from the given one on.
    /// They are rounded on the host whatever the device, so that they are the same everywhere.
    pub fn read(
        [count, width]: [usize; 2],
        device: &Device,
        read: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<Int8Rows> {
        let mut bits = vec![bf16::ZERO; Int8Rows::length(count, width)];
        quantise(&mut bits, [count, width], read)?;
        let length = bits.len();
        Int8Rows::new(Tensor::from_vec(bits, length, device)?, [count, width])
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The product with the transposed `weights`: (rows, rows of the weights), f32 on a CPU and
    /// bf16 on a card.
    pub fn product(&self, weights: &Int8Rows) -> Result<Tensor> {
        if self.width != weights.width {
            bail!("rows of {} and of {} have no product", self.width, weights.width);
        }
        let [rows, outputs] = [self.count, weights.count];
        self.bits.apply_op2_no_bwd(&weights.bits, &Product { rows, outputs, width: self.width })
    }

    /// The matrix that these rows stand for, as `dtype` on their device.
    pub fn dense(&self, dtype: DType) -> Result<Tensor> {
        let (device, shape) = (self.bits.device(), (self.count, self.width));
        let bits: Vec<bf16> = self.bits.to_device(&Device::Cpu)?.to_vec1()?;
        let view = RowsView::new(&bits, self.count, self.width);
        let group = group_of(self.width).unwrap_or(1);
        let dense = cpu::filled_rows(self.count * self.width, self.width, |row, out| {
            view.row(row).iter().zip(&mut *out).for_each(|(value, out)| *out = f32::from(*value));
            out.iter_mut().for_each(|out| *out *= view.scale(row));
            rotation::rotate(out, group);
        });
        Tensor::from_vec(dense, shape, device)?.to_dtype(dtype)
    }
}

/// What the product of `rows` activations of `width` values with a matrix needs beside them and its
/// result.
pub fn int8_bytes(backend: Backend, rows: usize, width: usize) -> usize {
    let tiles = match backend {
        Backend::Cpu { threads, .. } => threads * TILE_BYTES,
        Backend::Cuda => 0,
    };
    int8_rows_bytes(rows, width) + tiles
}

/// What rows of 8 bits take.
pub fn int8_rows_bytes(count: usize, width: usize) -> usize {
    count * (width + SCALE_BYTES)
}

/// Rounds `count` rows of `width` values, which `read` fills from the given row on, into `bits`.
pub fn quantise(
    bits: &mut [bf16],
    [count, width]: [usize; 2],
    read: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
) -> Result<()> {
    let Some(group) = group_of(width) else { bail!("rows of {width} values cannot be rotated") };
    let (rows, scales) = bits.split_at_mut(count * width / size_of::<bf16>());
    let rows: &mut [i8] = bytemuck::cast_slice_mut(rows);
    let task_rows = (TASK_VALUES / width).max(1);
    let scales = scales.par_chunks_mut(task_rows * SCALE_BYTES / size_of::<bf16>());
    let tasks = rows.par_chunks_mut(task_rows * width).zip(scales).enumerate();
    tasks.try_for_each_init(Vec::new, |values, (task, (rows, scales))| {
        values.resize(rows.len(), 0.0);
        read(task * task_rows, values)?;
        let rows = values.chunks_exact_mut(width).zip(rows.chunks_exact_mut(width));
        for ((values, row), halves) in rows.zip(scales.as_chunks_mut::<2>().0) {
            let mut scale = 0.0;
            quantise_row(values, row, &mut scale, group);
            *halves = product::halves_of(scale);
        }
        Ok(())
    })
}

vectorised! {
    fn quantise_row(values: &mut [f32], row: &mut [i8], scale: &mut f32, group: usize) {
        rotation::rotate(values, group);
        // As whole numbers, so that a NaN is the largest of all and is not lost.
        let bits = values.iter().map(|value| value.to_bits() & (u32::MAX >> 1)).max();
        let largest = f32::from_bits(bits.unwrap_or(0));
        *scale = largest / LEVELS;
        let per_level = if largest > 0.0 { LEVELS / largest } else { 0.0 };
        for (out, value) in row.iter_mut().zip(values) {
            *out = (*value * per_level).round_ties_even() as i8;
        }
    }
}

/// [`Int8Rows::of`].
struct Quantise;

impl CustomOp1 for Quantise {
    fn name(&self) -> &'static str {
        "int8-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (xs, width) = (cpu::values(x, layout)?, cpu::row_length(layout)?);
        let count = xs.len() / width;
        let mut bits = vec![bf16::ZERO; Int8Rows::length(count, width)];
        quantise(&mut bits, [count, width], |row, out| {
            out.copy_from_slice(&xs[row * width..][..out.len()]);
            Ok(())
        })?;
        let shape = Shape::from(bits.len());
        Ok((CpuStorage::BF16(bits), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::int8_rows((x, layout))
    }
}

/// [`Int8Rows::product`].
struct Product {
    rows: usize,
    outputs: usize,
    width: usize,
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "int8-product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weights) = (bits(x, x_layout)?, bits(weights, weights_layout)?);
        let x = RowsView::new(x, self.rows, self.width);
        let weights = RowsView::new(weights, self.outputs, self.width);
        let out = product(&x, &weights);
        Ok((CpuStorage::F32(out), Shape::from((self.rows, self.outputs))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weights: &CudaStorage,
        weights_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let sizes = [self.rows, self.outputs, self.width];
        cuda::int8_product((x, x_layout), (weights, weights_layout), sizes)
    }
}

fn bits<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [bf16]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::BF16(all), Some((start, end))) => Ok(&all[start..end]),
        _ => bail!("rows of 8 bits are contiguous bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{relative_error, values};
    use super::*;

    fn rows(x: &Tensor) -> Int8Rows {
        Int8Rows::of(x).expect("rows of a width that can be rotated")
    }

    fn plain_product(x: &Tensor, weights: &Tensor) -> Tensor {
        x.matmul(&weights.t().expect("two dimensions")).expect("a product")
    }

    #[test]
    fn a_product_is_that_of_the_matrices_that_the_rows_stand_for() {
        // Odd rows and outputs, more than one tile, and more than one exact piece of a sum.
        for (count, outputs, width) in [(1, 1, 16), (3, 130, 192), (257, 129, 1296), (2, 5, 10240)]
        {
            let (x, weights) =
                (rows(&values(&[count, width], 1)), rows(&values(&[outputs, width], 2)));
            let ours = x.product(&weights).expect("a product");
            let dense = |rows: &Int8Rows| rows.dense(DType::F64).expect("a matrix");
            let error = relative_error(&ours, &plain_product(&dense(&x), &dense(&weights)));
            assert!(error < 1e-5, "{count} x {outputs} x {width}: off by {error:e}");
        }
    }

    #[test]
    fn what_is_rounded_is_near_also_where_a_few_values_are_large() {
        let mut large: Vec<f32> = values(&[4, 256], 3).flatten_all().unwrap().to_vec1().unwrap();
        large.iter_mut().step_by(97).for_each(|value| *value *= 100.0);
        let x = Tensor::from_vec(large, (4, 256), &Device::Cpu).unwrap();
        let weights = values(&[32, 256], 4);
        let ours = rows(&x).product(&rows(&weights)).expect("a product");
        let error = relative_error(&ours, &plain_product(&x, &weights));
        assert!(error < 0.02, "off by {error:e} of the largest value");
        let again = rows(&x).dense(DType::F32).expect("a matrix");
        assert!(relative_error(&again, &x) < 0.02);
    }

    #[test]
    fn rows_that_were_rounded_come_back_to_their_own_numbers() {
        let x = rows(&values(&[3, 512], 5)).dense(DType::F32).expect("a matrix");
        let again = rows(&x).dense(DType::F32).expect("a matrix");
        assert!(relative_error(&again, &x) < 1e-5);
    }

    #[test]
    fn rows_of_nothing_are_nothing_and_what_is_no_number_stays_none() {
        let weights = rows(&values(&[2, 16], 1));
        let of = |value: f32| {
            let x = Tensor::full(value, (1, 16), &Device::Cpu).unwrap();
            rows(&x).product(&weights).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(of(0.0), [0.0, 0.0]);
        assert!(of(f32::NAN).into_iter().all(f32::is_nan));
        assert!(of(f32::INFINITY).into_iter().all(|value| !value.is_finite()));
    }

    #[test]
    fn rows_that_cannot_be_rotated_are_refused() {
        assert!(!Int8Rows::can_have(40));
        assert!(Int8Rows::of(&values(&[3, 40], 1)).is_err());
    }
}
