//! Convolution on a card: im2col for a band of rows at a time, and a matrix product that writes
//! its rows where they belong.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t::CUBLAS_OP_N;
use candle_core::cuda_backend::cudarc::cublas::{Gemm, GemmConfig};
use candle_core::{CudaDevice, CudaStorage, Result, Shape};
use half::bf16;

use super::{Operand, Values, ValuesMut, kernels, output, values};
use crate::engine::z_image::ops::conv_shape::{ConvShape, IM2COL_BYTES, Sliding};

pub fn conv2d([x, weight, bias]: [Operand; 3], sliding: Sliding) -> Result<(CudaStorage, Shape)> {
    let shape = ConvShape::of(x.1, weight.1, sliding)?;
    let (xs, weights, biases) = (values(x)?, values(weight)?, values(bias)?);
    let device = &x.0.device;
    let convolution = Convolution { device, shape: &shape, weight: &weights, bias: &biases };
    let in_item = shape.inputs * shape.height * shape.width;
    let out_item = shape.outputs * shape.out_plane();
    output(device, shape.out_dims(), |mut out| {
        for item in 0..shape.batch {
            let x = xs.slice(item * in_item..(item + 1) * in_item);
            let mut out = out.slice_mut(item * out_item..(item + 1) * out_item);
            convolution.convolve(&x, &mut out)?;
        }
        Ok(())
    })
}

struct Convolution<'a> {
    device: &'a CudaDevice,
    shape: &'a ConvShape,
    weight: &'a Values<'a>,
    bias: &'a Values<'a>,
}

impl Convolution<'_> {
    /// One item: `x` (inputs, height, width) to `out` (outputs, out_height, out_width).
    fn convolve(&self, x: &Values, out: &mut ValuesMut) -> Result<()> {
        let shape = self.shape;
        kernels::broadcast_bias(self.device, self.bias, out)?;
        if shape.kernel == 1 && shape.sliding.is_plain() {
            // The matrix of im2col would be `x` itself.
            return self.add_product(x, out, 0, shape.out_plane());
        }
        let row_bytes = size_of::<bf16>() * shape.column() * shape.out_width();
        let band = (IM2COL_BYTES / row_bytes).clamp(1, shape.out_height());
        // SAFETY: each band's matrix is written before it is read.
        let mut matrix =
            unsafe { self.device.alloc::<bf16>(shape.column() * band * shape.out_width())? };
        for first in (0..shape.out_height()).step_by(band) {
            let rows = band.min(shape.out_height() - first);
            let pixels = rows * shape.out_width();
            let mut matrix = matrix.slice_mut(..shape.column() * pixels);
            kernels::im2col(self.device, x, &mut matrix, shape, first)?;
            self.add_product(&matrix.as_view(), out, first * shape.out_width(), pixels)?;
        }
        Ok(())
    }

    /// Adds the weight (outputs, column) times `matrix` (column, pixels) to so many pixels of each
    /// plane of `out` from `first` on, in f32 and rounded once.
    fn add_product(
        &self,
        matrix: &Values,
        out: &mut ValuesMut,
        first: usize,
        pixels: usize,
    ) -> Result<()> {
        let shape = self.shape;
        assert!(matrix.len() >= shape.column() * pixels && first + pixels <= shape.out_plane());
        // cuBLAS counts by columns: to it all three are transposed, and the product's factors
        // change places.
        let [m, n, k] = [pixels, shape.outputs, shape.column()].map(|size| size as i32);
        let product = GemmConfig {
            transa: CUBLAS_OP_N,
            transb: CUBLAS_OP_N,
            m,
            n,
            k,
            alpha: bf16::ONE,
            lda: m,
            ldb: k,
            beta: bf16::ONE,
            ldc: shape.out_plane() as i32,
        };
        let mut out = out.slice_mut(first..);
        // SAFETY: the sizes are those of the three matrices, and each row of the result lies within
        // its plane.
        unsafe { self.device.cublas_handle().gemm(product, matrix, self.weight, &mut out) }.w()
    }
}
