//! Norms of rows, with what the transformer does before and after them: the kernels of `rows.cu`.

use candle_core::cuda_backend::cudarc::driver::{CudaView, LaunchArgs, PushKernelArg};
use candle_core::{CudaDevice, CudaStorage, Result, Shape, Tensor};

use super::kernels::{WARP, launch, narrow};
use super::{
    CHUNK, Operand, Values, ValuesMut, chunks, output, two_outputs, values, with_operands,
};
use crate::engine::z_image::ops::dispatch::CARD_ROW_MAX;

pub(super) const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/rows.ptx"));

/// The module of the kernels, as the device calls it.
const MODULE: &str = "zimaged-rows";

/// Chunks of a row that one thread keeps.
const SHARE: usize = 2;

/// Threads of a block that rotates heads.
const ROPE_THREADS_MAX: usize = 256;

pub fn rms_norm(x: Operand, weight: Operand, eps: f64) -> Result<(CudaStorage, Shape)> {
    norm("rms_norm", x, weight, eps)
}

pub fn layer_norm(x: Operand, weight: Operand, eps: f64) -> Result<(CudaStorage, Shape)> {
    norm("layer_norm", x, weight, eps)
}

fn norm(kernel: &str, x: Operand, weight: Operand, eps: f64) -> Result<(CudaStorage, Shape)> {
    let (xs, weights) = (chunks(x)?, chunks(weight)?);
    let rows = Rows::of([&xs], [&weights])?;
    output(&x.0.device, x.1.shape(), |mut out: ValuesMut| {
        let function = x.0.device.get_or_load_custom_func(kernel, MODULE, PTX)?;
        let mut arguments = function.builder();
        let eps = eps as f32;
        arguments.arg(&xs).arg(&weights).arg(&mut out).arg(&rows.width).arg(&eps);
        // SAFETY: the arguments are the kernel's, and it keeps to the rows.
        unsafe { rows.launch(arguments) }
    })
}

/// `x + rms_norm(y, weight)`.
pub fn add_norm([x, y, weight]: [Operand; 3], eps: f64) -> Result<(CudaStorage, Shape)> {
    let (xs, ys, weights) = (chunks(x)?, chunks(y)?, chunks(weight)?);
    let rows = Rows::of([&xs, &ys], [&weights])?;
    output(&x.0.device, x.1.shape(), |mut sum: ValuesMut| {
        let function = x.0.device.get_or_load_custom_func("add_norm", MODULE, PTX)?;
        let mut arguments = function.builder();
        let eps = eps as f32;
        arguments.arg(&xs).arg(&ys).arg(&weights).arg(&mut sum).arg(&rows.width).arg(&eps);
        // SAFETY: the arguments are the kernel's, and it keeps to the rows.
        unsafe { rows.launch(arguments) }
    })
}

/// `x + rms_norm(y, weight)`, and `rms_norm` of that with `next`.
pub fn add_norm_and_norm(
    [x, y]: [&Tensor; 2],
    [weight, next]: [&Tensor; 2],
    eps: f64,
) -> Result<[Tensor; 2]> {
    with_operands([x, y, weight, next], |[x, y, weight, next]| {
        let (xs, ys, weights, nexts) = (chunks(x)?, chunks(y)?, chunks(weight)?, chunks(next)?);
        let rows = Rows::of([&xs, &ys], [&weights, &nexts])?;
        two_outputs(&x.0.device, x.1.shape(), |[mut sum, mut out]| {
            let function = x.0.device.get_or_load_custom_func("add_norm_and_norm", MODULE, PTX)?;
            let mut arguments = function.builder();
            let eps = eps as f32;
            arguments.arg(&xs).arg(&ys).arg(&weights).arg(&mut sum).arg(&nexts);
            arguments.arg(&mut out).arg(&rows.width).arg(&eps);
            // SAFETY: the arguments are the kernel's, and it keeps to the rows.
            unsafe { rows.launch(arguments) }
        })
    })
}

/// Queries and keys (b, s, heads, dim), each normed by head with its weight and rotated by
/// interleaved pairs: `cos` and `sin` (s, dim / 2).
pub fn norm_rope(
    [q, k]: [&Tensor; 2],
    [q_weight, k_weight]: [&Tensor; 2],
    [cos, sin]: [&Tensor; 2],
    eps: f64,
) -> Result<[Tensor; 2]> {
    let size = q.dims4()?;
    with_operands([q, k, q_weight, k_weight, cos, sin], |[q, k, q_weight, k_weight, cos, sin]| {
        let rotation = Rotation {
            heads: [chunks(q)?, chunks(k)?],
            weights: [chunks(q_weight)?, chunks(k_weight)?],
            angles: [values(cos)?, values(sin)?],
            eps: eps as f32,
        };
        two_outputs(&q.0.device, q.1.shape(), |out| rotation.launch(&q.0.device, out, size))
    })
}

struct Rotation<'a> {
    heads: [Values<'a>; 2],
    weights: [Values<'a>; 2],
    angles: [CudaView<'a, f32>; 2],
    eps: f32,
}

impl Rotation<'_> {
    fn launch(
        &self,
        device: &CudaDevice,
        [mut q_out, mut k_out]: [ValuesMut; 2],
        (b, s, heads, dim): (usize, usize, usize, usize),
    ) -> Result<()> {
        let row = heads * dim;
        assert!(dim.is_multiple_of(CHUNK) && (dim / CHUNK).is_power_of_two());
        assert!(dim / CHUNK <= WARP && q_out.len() == b * s * row && k_out.len() == b * s * row);
        assert!(self.heads.iter().all(|heads| heads.len() == b * s * row));
        assert!(self.weights.iter().all(|weight| weight.len() == dim));
        assert!(self.angles.iter().all(|angles| angles.len() == s * dim / 2));
        let function = device.get_or_load_custom_func("norm_rope", MODULE, PTX)?;
        let mut arguments = function.builder();
        let [positions, head_count, width] = [narrow(s)?, narrow(heads)?, narrow(dim)?];
        self.heads.iter().chain(&self.weights).for_each(|values| {
            arguments.arg(values);
        });
        arguments.arg(&self.angles[0]).arg(&self.angles[1]).arg(&mut q_out).arg(&mut k_out);
        arguments.arg(&positions).arg(&head_count).arg(&width).arg(&self.eps);
        let threads = (row / CHUNK).next_multiple_of(WARP).min(ROPE_THREADS_MAX);
        // SAFETY: the arguments are the kernel's, and their lengths are asserted.
        unsafe { launch(arguments, [b * s, 2, 1], threads) }
    }
}

/// The rows of one launch, a block for each.
struct Rows {
    count: usize,
    width: u32,
    threads: usize,
}

impl Rows {
    /// Those of `values`, as wide as each of `weights`.
    fn of<const N: usize, const W: usize>(
        values: [&Values; N],
        weights: [&Values; W],
    ) -> Result<Rows> {
        let (all, width) = (values[0].len(), weights[0].len());
        let count = all / width;
        assert!(all == count * width && values.iter().all(|values| values.len() == all));
        assert!(weights.iter().all(|weight| weight.len() == width));
        assert!(width.is_multiple_of(CHUNK) && width <= CARD_ROW_MAX);
        let threads = (width / CHUNK).div_ceil(SHARE).next_multiple_of(WARP);
        Ok(Rows { count, width: narrow(width)?, threads })
    }

    /// # Safety
    /// The arguments are those that the kernel takes, in their order, and are the rows and weights
    /// that these are of, or as long.
    unsafe fn launch(&self, arguments: LaunchArgs) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { launch(arguments, [self.count, 1, 1], self.threads) }
    }
}
