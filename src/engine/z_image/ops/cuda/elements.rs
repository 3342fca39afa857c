//! Element-wise operators, rotations, and an exchange of dimensions.

use candle_core::{D, Result, Tensor};
use half::bf16;

use super::{Source, THREADS_MAX, launch, output, threads};

pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let count = gate.elem_count();
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let (gates, ups) = (Source::of(&gate)?, Source::of(&up)?);
    output::<bf16>(&gate, gate.shape(), |device, out| {
        let blocks = [count.div_ceil(THREADS_MAX), 1, 1];
        launch!(
            device,
            "swiglu",
            blocks,
            THREADS_MAX,
            gates.bf16()?,
            ups.bf16()?,
            out.as_view(),
            count
        );
        Ok(())
    })
}

pub fn modulate(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (b, s, d) = x.dims3()?;
    let (x, scale) = (x.contiguous()?, scale.contiguous()?);
    let (xs, scales) = (Source::of(&x)?, Source::of(&scale)?);
    output::<bf16>(&x, x.shape(), |device, out| {
        launch!(
            device,
            "modulate",
            [s, b, 1],
            threads(d),
            xs.bf16()?,
            scales.bf16()?,
            out.as_view(),
            d as u32
        );
        Ok(())
    })
}

pub fn gated_add(x: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let (b, s, d) = x.dims3()?;
    let (x, y, gate) = (x.contiguous()?, y.contiguous()?, gate.contiguous()?);
    let (xs, ys, gates) = (Source::of(&x)?, Source::of(&y)?, Source::of(&gate)?);
    output::<bf16>(&x, x.shape(), |device, out| {
        let (xs, ys, gates) = (xs.bf16()?, ys.bf16()?, gates.bf16()?);
        launch!(device, "gated_add", [s, b, 1], threads(d), xs, ys, gates, out.as_view(), d as u32);
        Ok(())
    })
}

/// Rotates interleaved pairs, or else those of GPT-NeoX.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor, interleaved: bool) -> Result<Tensor> {
    let (b, s, heads, _) = x.dims4()?;
    let half = x.dim(D::Minus1)? / 2;
    let (x, cos, sin) = (x.contiguous()?, cos.contiguous()?, sin.contiguous()?);
    let (xs, cosines, sines) = (Source::of(&x)?, Source::of(&cos)?, Source::of(&sin)?);
    output::<bf16>(&x, x.shape(), |device, out| {
        let (xs, cosines, sines) = (xs.bf16()?, cosines.values::<f32>()?, sines.values::<f32>()?);
        let (blocks, out) = ([s, heads, b], out.as_view());
        launch!(
            device,
            "rope",
            blocks,
            threads(half),
            xs,
            cosines,
            sines,
            out,
            half as u32,
            interleaved
        );
        Ok(())
    })
}

/// Twice the height and width of `x` (b, c, h, w), each value repeated.
pub fn upsample(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let x = x.contiguous()?;
    let xs = Source::of(&x)?;
    output::<bf16>(&x, (b, c, 2 * h, 2 * w), |device, out| {
        let blocks = [(4 * h * w).div_ceil(THREADS_MAX), b * c, 1];
        launch!(
            device,
            "upsample",
            blocks,
            THREADS_MAX,
            xs.bf16()?,
            out.as_view(),
            h as u32,
            w as u32
        );
        Ok(())
    })
}

/// (b, rows, columns, d) as contiguous (b, columns, rows, d).
pub fn swap(x: &Tensor) -> Result<Tensor> {
    let (b, rows, columns, d) = x.dims4()?;
    let x = x.contiguous()?;
    let xs = Source::of(&x)?;
    output::<bf16>(&x, (b, columns, rows, d), |device, out| {
        let (xs, out, blocks) = (xs.bf16()?, out.as_view(), [rows * columns, b, 1]);
        launch!(device, "swap", blocks, threads(d), xs, out, rows as u32, columns as u32, d as u32);
        Ok(())
    })
}
