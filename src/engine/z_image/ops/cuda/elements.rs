//! Element-wise operators, rotations, and the exchange of two dimensions.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, bail};

use super::{Operand, kernels, output, values};

pub fn swiglu(gate: Operand, up: Operand) -> Result<(CudaStorage, Shape)> {
    let (gates, ups) = (values(gate)?, values(up)?);
    output(&gate.0.device, gate.1.shape(), |mut out| {
        kernels::swiglu(&gate.0.device, &gates, &ups, &mut out)
    })
}

pub fn modulate(x: Operand, scale: Operand) -> Result<(CudaStorage, Shape)> {
    let (xs, scales) = (values(x)?, values(scale)?);
    let size = x.1.shape().dims3()?;
    output(&x.0.device, x.1.shape(), |mut out| {
        kernels::modulate(&x.0.device, &xs, &scales, &mut out, size)
    })
}

pub fn gated_add(x: Operand, y: Operand, gate: Operand) -> Result<(CudaStorage, Shape)> {
    let (xs, ys, gates) = (values(x)?, values(y)?, values(gate)?);
    let size = x.1.shape().dims3()?;
    output(&x.0.device, x.1.shape(), |mut out| {
        kernels::gated_add(&x.0.device, &xs, &ys, &gates, &mut out, size)
    })
}

/// Rotates interleaved pairs, or else those of GPT-NeoX.
pub fn rope(
    x: Operand,
    cos: Operand,
    sin: Operand,
    interleaved: bool,
) -> Result<(CudaStorage, Shape)> {
    let (xs, cosines, sines) = (values(x)?, values(cos)?, values(sin)?);
    let size = x.1.shape().dims4()?;
    output(&x.0.device, x.1.shape(), |mut out| {
        kernels::rope(&x.0.device, &xs, &cosines, &sines, &mut out, size, interleaved)
    })
}

/// Twice the height and width of `x` (b, c, h, w), each value repeated.
pub fn upsample(x: Operand) -> Result<(CudaStorage, Shape)> {
    let xs = values(x)?;
    let (b, c, h, w) = x.1.shape().dims4()?;
    output(&x.0.device, (b, c, 2 * h, 2 * w), |mut out| {
        kernels::upsample(&x.0.device, &xs, &mut out, (b * c, h, w))
    })
}

/// (b, rows, columns, d) as contiguous (b, columns, rows, d).
///
/// A card's alone: on a CPU attention reads its heads where they are.
pub struct Transpose;

impl CustomOp1 for Transpose {
    fn name(&self) -> &'static str {
        "transpose-rows"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("this transpose is a card's")
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let xs = values((x, layout))?;
        let (b, rows, columns, d) = layout.shape().dims4()?;
        output(&x.device, (b, columns, rows, d), |mut out| {
            kernels::transpose(&x.device, &xs, &mut out, (b, rows, columns, d))
        })
    }
}
