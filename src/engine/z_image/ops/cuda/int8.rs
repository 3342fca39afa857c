//! Rows of eight bits: the kernels of `int8_rows.cu` and `int8_product.cu`.

use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
use candle_core::{CudaStorage, Result, Shape, bail};

use super::kernels::{WARP, launch, narrow};
use super::{Operand, ValuesMut, chunks, output};
use crate::engine::z_image::ops::Int8Rows;
use crate::engine::z_image::rotation::group_of;

pub(super) const ROWS_PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/int8_rows.ptx"));
pub(super) const PRODUCT_PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/int8_product.ptx"));

/// The modules of the kernels, as the device calls them.
const ROWS: &str = "zimaged-int8-rows";
const PRODUCT: &str = "zimaged-int8-product";

/// Values of a row that one thread rounds, and the most threads of a block.
const SHARE: usize = 16;
const THREADS_MAX: usize = 1024;

/// Rows and outputs that a block of the product computes, and its threads.
const SIDE: usize = 128;
const PRODUCT_THREADS: usize = 128;

/// The rows of `x`, rotated and rounded: what [`Int8Rows`] keeps.
pub fn int8_rows(x: Operand) -> Result<(CudaStorage, Shape)> {
    let (&[.., width], xs) = (x.1.dims(), chunks(x)?) else { bail!("rows have a width") };
    let Some(group) = group_of(width).filter(|_| width <= SHARE * THREADS_MAX) else {
        bail!("rows of {width} values are not rounded to 8 bits")
    };
    let rows = xs.len() / width;
    let device = &x.0.device;
    output(device, Int8Rows::length(rows, width), |mut out: ValuesMut| {
        let function = device.get_or_load_custom_func("int8_rows", ROWS, ROWS_PTX)?;
        let mut arguments = function.builder();
        let [count, row, group] = [narrow(rows)?, narrow(width)?, narrow(group)?];
        arguments.arg(&xs).arg(&mut out).arg(&count).arg(&row).arg(&group);
        let threads = (width / SHARE).next_multiple_of(WARP);
        // SAFETY: the arguments are the kernel's, and it keeps to `rows` rows and as many scales.
        unsafe { launch(arguments, [rows, 1, 1], threads) }
    })
}

/// The product of `rows` rows with the transposed matrix of `outputs` rows, all of `width` numbers.
pub fn int8_product(
    x: Operand,
    weights: Operand,
    [rows, outputs, width]: [usize; 3],
) -> Result<(CudaStorage, Shape)> {
    let (xs, matrix) = (chunks(x)?, chunks(weights)?);
    assert!(xs.len() == Int8Rows::length(rows, width) && width.is_multiple_of(SHARE));
    assert!(matrix.len() == Int8Rows::length(outputs, width));
    let device = &x.0.device;
    output(device, (rows, outputs), |mut out: ValuesMut| {
        let function = device.get_or_load_custom_func("int8_product", PRODUCT, PRODUCT_PTX)?;
        let mut arguments = function.builder();
        let [row_count, output_count, row] = [narrow(rows)?, narrow(outputs)?, narrow(width)?];
        arguments.arg(&xs).arg(&matrix).arg(&mut out);
        arguments.arg(&row_count).arg(&output_count).arg(&row);
        let tiles = rows.div_ceil(SIDE) * outputs.div_ceil(SIDE);
        // SAFETY: the arguments are the kernel's, and their lengths are asserted.
        unsafe { launch(arguments, [tiles, 1, 1], PRODUCT_THREADS) }
    })
}

#[cfg(test)]
mod operators_on_a_card {
    use candle_core::{DType, Device, Result, Tensor};

    use crate::engine::z_image::ops::Int8Rows;
    use crate::engine::z_image::ops::check::{first_card, relative_error, values};

    /// Results are rounded to bf16; and a value between two levels may become the other one.
    const ROUNDING: f64 = 1.0 / 256.0;

    /// Values that bf16 can hold, so that nothing but the arithmetic differs.
    fn rounded(shape: [usize; 2], seed: u64) -> Tensor {
        let halves = values(&shape, seed).to_dtype(DType::BF16);
        halves.and_then(|x| x.to_dtype(DType::F32)).expect("f32 narrows")
    }

    fn product(x: &Tensor, weights: &Tensor, device: &Device) -> Result<Tensor> {
        let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
        let on_device = |x: &Tensor| Int8Rows::of(&x.to_dtype(dtype)?.to_device(device)?);
        on_device(x)?.product(&on_device(weights)?)
    }

    fn assert_right(rows: usize, outputs: usize, width: usize) {
        let (x, weights) = (rounded([rows, width], 1), rounded([outputs, width], 2));
        let ours = product(&x, &weights, &first_card::open()).expect("a card multiplies");
        let right = product(&x, &weights, &Device::Cpu).expect("a processor multiplies");
        let error = relative_error(&ours, &right);
        let sizes = format!("{rows} x {outputs} x {width}");
        assert!(error < ROUNDING, "{sizes}: off by {error:e} of the largest value");
    }

    #[test]
    #[ignore = "needs a card: see tools/gpu/simulator"]
    fn rows_of_8_bits_are_multiplied_whatever_their_number() {
        for (rows, outputs) in [(1, 1), (1, 130), (3, 65), (127, 128), (130, 129), (257, 7)] {
            for width in [16, 192, 1296] {
                assert_right(rows, outputs, width);
            }
        }
        assert_right(5, 9, 10_240);
    }

    #[test]
    #[ignore = "needs a card: see tools/gpu/simulator"]
    fn the_rows_of_a_large_picture_are_multiplied() {
        assert_right(4700, 200, 256);
    }

    #[test]
    #[ignore = "needs a card: see tools/gpu/simulator"]
    fn a_matrix_that_was_rounded_on_the_host_is_the_same_on_a_card() {
        let card = first_card::open();
        let weights = rounded([70, 512], 3);
        let flat: Vec<f32> = weights.flatten_all().and_then(|x| x.to_vec1()).expect("values");
        let read = |row: usize, out: &mut [f32]| {
            out.copy_from_slice(&flat[row * 512..][..out.len()]);
            Ok(())
        };
        let rows = Int8Rows::read([70, 512], &card, read).expect("rows");
        let dense = rows.dense(DType::F32).expect("a matrix");
        let on_card = weights.to_dtype(DType::BF16).and_then(|x| x.to_device(&card));
        let ours = Int8Rows::of(&on_card.expect("a card takes it")).expect("rows");
        let error = relative_error(&ours.dense(DType::F32).expect("a matrix"), &dense);
        assert!(error < 0.02, "off by {error:e} of the largest value");
        let error = relative_error(&dense, &weights);
        assert!(error < 0.04, "off by {error:e} of the largest value");
    }
}
