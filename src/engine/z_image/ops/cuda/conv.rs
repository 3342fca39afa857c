//! Convolution on a card: bands of windows, and a product that writes its rows where they belong.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t::CUBLAS_OP_N;
use candle_core::cuda_backend::cudarc::cublas::{Gemm, GemmConfig};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView};
use candle_core::{CudaDevice, Result, Tensor};
use half::bf16;

use super::{Source, THREADS_MAX, launch, output};
use crate::engine::z_image::ops::conv::window_rows;

pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: usize,
) -> Result<Tensor> {
    let (b, inputs, h, w) = x.dims4()?;
    let (outputs, _, kernel, _) = weight.dims4()?;
    let (out_h, out_w) = (h + 2 * padding + 1 - kernel, w + 2 * padding + 1 - kernel);
    let sizes = Sizes { inputs, h, w, outputs, kernel, padding, out_h, out_w };
    let bias =
        bias.map_or_else(|| Tensor::zeros(outputs, x.dtype(), x.device()), Tensor::contiguous)?;
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (xs, weights, biases) = (Source::of(&x)?, Source::of(&weight)?, Source::of(&bias)?);
    output::<bf16>(&x, (b, outputs, out_h, out_w), |device, out| {
        let (xs, weights, biases) = (xs.bf16()?, weights.bf16()?, biases.bf16()?);
        for item in 0..b {
            let x = xs.slice(item * inputs * h * w..);
            sizes.convolve(device, (&x, &weights, &biases), out, item * outputs * out_h * out_w)?;
        }
        Ok(())
    })
}

struct Sizes {
    inputs: usize,
    h: usize,
    w: usize,
    outputs: usize,
    kernel: usize,
    padding: usize,
    out_h: usize,
    out_w: usize,
}

type Values<'a> = CudaView<'a, bf16>;

impl Sizes {
    /// One item's result, from `start` on in `out`.
    fn convolve(
        &self,
        device: &CudaDevice,
        (x, weight, bias): (&Values, &Values, &Values),
        out: &mut CudaSlice<bf16>,
        start: usize,
    ) -> Result<()> {
        let plane = self.out_h * self.out_w;
        let (blocks, biased) = ([plane.div_ceil(THREADS_MAX), self.outputs, 1], out.slice(start..));
        launch!(device, "spread", blocks, THREADS_MAX, bias.slice(..), biased, plane);
        if self.kernel == 1 && self.padding == 0 {
            return self.add_product(device, weight, x, plane, out, start);
        }
        let band =
            window_rows(size_of::<bf16>(), self.inputs, self.kernel, self.out_w).min(self.out_h);
        // SAFETY: each band's windows are written before they are read.
        let windows = unsafe { device.alloc::<bf16>(self.window() * band * self.out_w)? };
        for first in (0..self.out_h).step_by(band) {
            let rows = band.min(self.out_h - first);
            self.fill(device, x, &windows, first, rows)?;
            self.add_product(
                device,
                weight,
                &windows.as_view(),
                rows * self.out_w,
                out,
                start + first * self.out_w,
            )?;
        }
        Ok(())
    }

    /// Values of one window.
    fn window(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// The windows of `rows` rows from `first` on: (window, rows, out_w).
    fn fill(
        &self,
        device: &CudaDevice,
        x: &Values,
        windows: &CudaSlice<bf16>,
        first: usize,
        rows: usize,
    ) -> Result<()> {
        let pixels = rows * self.out_w;
        let blocks = [pixels.div_ceil(THREADS_MAX), self.window(), 1];
        let [count, h, w, kernel, padding, first, out_w] =
            [pixels, self.h, self.w, self.kernel, self.padding, first, self.out_w]
                .map(|size| size as u32);
        let (x, out) = (x.slice(..), windows.as_view());
        launch!(
            device,
            "windows",
            blocks,
            THREADS_MAX,
            x,
            out,
            count,
            h,
            w,
            kernel,
            padding,
            first,
            out_w
        );
        Ok(())
    }

    /// Adds `weight` (outputs, window) times `windows` (window, pixels) to so many pixels of each
    /// plane of `out` from `start` on, in f32 and rounded once.
    fn add_product(
        &self,
        device: &CudaDevice,
        weight: &Values,
        windows: &Values,
        pixels: usize,
        out: &mut CudaSlice<bf16>,
        start: usize,
    ) -> Result<()> {
        // cuBLAS counts by columns: to it all three are transposed, and the product's factors
        // change places.
        let [m, n, k] = [pixels, self.outputs, self.window()].map(|size| size as i32);
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
            ldc: (self.out_h * self.out_w) as i32,
        };
        // SAFETY: the sizes are those of the three matrices, each row of the result within its
        // plane.
        unsafe {
            device.cublas_handle().gemm(product, windows, weight, &mut out.slice_mut(start..))
        }
        .w()
    }
}
