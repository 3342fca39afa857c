//! Convolution in one kernel: those of `convolution.cu`, or that of `convolution_hopper.cu`.

use candle_core::cuda_backend::cudarc::driver::{CudaView, DeviceRepr, PushKernelArg};
use candle_core::{CudaDevice, CudaStorage, Result, Shape, Tensor};
use half::bf16;

use super::kernels::{launch_with_memory, narrow};
use super::{CHUNK, Operand, Values, ValuesMut, hopper, is_aligned, output, values, with_operands};
use crate::engine::z_image::ops::conv_shape::{ConvShape, Sliding};

pub(super) const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/convolution.ptx"));
pub(super) const HOPPER_PTX: &str =
    include_str!(concat!(env!("OUT_DIR"), "/convolution_hopper.ptx"));

/// `x` (b, h, w, i) with `weight` (o, k, k, i), plus `bias` (o), plus `residual`.
pub fn conv2d(
    [x, weight, bias]: [Operand; 3],
    residual: Option<&Tensor>,
    sliding: Sliding,
) -> Result<(CudaStorage, Shape)> {
    let shape = ConvShape::of(x.1, weight.1, sliding)?;
    let convolution = Operands {
        x: values(x)?,
        weight: values(weight)?,
        bias: values(bias)?,
        aligned: is_aligned(x) && is_aligned(weight),
        shape: &shape,
    };
    let device = &x.0.device;
    output(device, shape.out_dims(), |mut out| match residual {
        Some(residual) => with_operands([residual], |[residual]| {
            convolution.convolve(device, &values(residual)?, &mut out)
        }),
        None => convolution.convolve(device, &convolution.bias.slice(..0), &mut out),
    })
}

/// The sizes as the kernel takes them.
#[repr(C)]
struct Convolution {
    height: u32,
    width: u32,
    inputs: u32,
    outputs: u32,
    kernel: u32,
    before: u32,
    stride: u32,
    doubled: u32,
    out_height: u32,
    out_width: u32,
    out_pixels: u32,
    has_residual: u32,
}

// SAFETY: its values are all that a kernel reads of it.
unsafe impl DeviceRepr for Convolution {}

impl Convolution {
    fn of(shape: &ConvShape, has_residual: bool) -> Result<Convolution> {
        let sliding = shape.sliding;
        Ok(Convolution {
            height: narrow(shape.height)?,
            width: narrow(shape.width)?,
            inputs: narrow(shape.inputs)?,
            outputs: narrow(shape.outputs)?,
            kernel: narrow(shape.kernel)?,
            before: narrow(sliding.before)?,
            stride: narrow(sliding.stride)?,
            doubled: sliding.doubled.into(),
            out_height: narrow(shape.out_height())?,
            out_width: narrow(shape.out_width())?,
            out_pixels: narrow(shape.batch * shape.out_plane())?,
            has_residual: has_residual.into(),
        })
    }
}

/// A kernel and the module that has it, how much of the result a block computes, with how many
/// threads, and the memory that a block asks for beside what the kernel names.
struct Tiling {
    kernel: &'static str,
    module: &'static str,
    ptx: &'static str,
    pixels: usize,
    outputs: usize,
    threads: usize,
    bytes: usize,
}

const WIDE: Tiling = Tiling {
    kernel: "convolve",
    module: "zimaged-conv",
    ptx: PTX,
    pixels: 128,
    outputs: 128,
    threads: 128,
    bytes: 0,
};
const NARROW: Tiling = Tiling { kernel: "convolve_narrow", outputs: 32, ..WIDE };
/// For inputs that are no whole chunks, or do not lie as such.
const UNALIGNED: Tiling = Tiling { kernel: "convolve_unaligned", ..NARROW };
/// For compute capability 9.0.
const HOPPER: Tiling = Tiling {
    kernel: "convolve_hopper",
    module: "zimaged-conv-hopper",
    ptx: HOPPER_PTX,
    threads: 256,
    bytes: 97 << 10,
    ..WIDE
};

struct Operands<'a> {
    x: Values<'a>,
    weight: Values<'a>,
    bias: Values<'a>,
    /// Whether chunks of `x` and of the weight lie where they can be read at once.
    aligned: bool,
    shape: &'a ConvShape,
}

impl Operands<'_> {
    fn tiling(&self, device: &CudaDevice) -> Result<Tiling> {
        let aligned = self.shape.inputs.is_multiple_of(CHUNK) && self.aligned;
        Ok(match self.shape.outputs > NARROW.outputs {
            _ if !aligned => UNALIGNED,
            false => NARROW,
            true if hopper::is_for(device)? => HOPPER,
            true => WIDE,
        })
    }

    /// `residual` is empty where there is none.
    fn convolve(
        &self,
        device: &CudaDevice,
        residual: &CudaView<bf16>,
        out: &mut ValuesMut,
    ) -> Result<()> {
        let shape = self.shape;
        let pixels = shape.batch * shape.out_plane();
        assert!(self.x.len() == shape.batch * shape.item());
        assert!(self.weight.len() == shape.outputs * shape.window());
        assert!(self.bias.len() == shape.outputs && out.len() == pixels * shape.outputs);
        assert!(residual.len() == out.len() || residual.is_empty());
        let sizes = Convolution::of(shape, !residual.is_empty())?;
        let tiling = self.tiling(device)?;
        let Tiling { kernel, module, ptx, bytes, .. } = tiling;
        let function = device.get_or_load_custom_func(kernel, module, ptx)?;
        hopper::ask_for_memory(&function, bytes)?;
        let mut arguments = function.builder();
        arguments.arg(&self.x).arg(&self.weight).arg(&self.bias).arg(residual).arg(out).arg(&sizes);
        let tiles = pixels.div_ceil(tiling.pixels) * shape.outputs.div_ceil(tiling.outputs);
        // SAFETY: the arguments are the kernel's, and their lengths are asserted.
        unsafe { launch_with_memory(arguments, [tiles, 1, 1], tiling.threads, bytes) }
    }
}
