//! Element-wise operators and rotations.

use candle_core::{CudaStorage, Result, Shape};

use super::{Operand, chunks, kernels, output, values};

pub fn swiglu(gate: Operand, up: Operand) -> Result<(CudaStorage, Shape)> {
    let (gates, ups) = (chunks(gate)?, chunks(up)?);
    output(&gate.0.device, gate.1.shape(), |mut out| {
        kernels::swiglu(&gate.0.device, &gates, &ups, &mut out)
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
