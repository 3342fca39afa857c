//! Element-wise operations of the transformer block. None needs scratch.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::cpu::{from_rows, row_length, silu, values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::{is_cpu_f32, is_ours};

/// `silu(gate) * up`, element by element.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !is_ours(gate) {
        return gate.silu()? * up;
    }
    gate.contiguous()?.apply_op2_no_bwd(&up.contiguous()?, &SwiGlu)
}

/// `x + y` of one shape: a residual connection.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    // candle's own kernel is as good on a card.
    if !is_cpu_f32(x) {
        return x + y;
    }
    x.contiguous()?.apply_op2_no_bwd(&y.contiguous()?, &Add)
}

/// `x * scale`: `x` (b, s, d), `scale` (b, 1, d).
pub fn modulate(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    if !is_ours(x) {
        return x.broadcast_mul(scale);
    }
    x.contiguous()?.apply_op2_no_bwd(&scale.contiguous()?, &Modulate)
}

/// `x + gate * y`: `x` and `y` (b, s, d), `gate` (b, 1, d).
pub fn gated_add(x: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
    if !is_ours(x) {
        return x + y.broadcast_mul(gate)?;
    }
    x.contiguous()?.apply_op3_no_bwd(&y.contiguous()?, &gate.contiguous()?, &GatedAdd)
}

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gates = values(gate, gate_layout)?;
        let ups = values(up, up_layout)?;
        let row = row_length(gate_layout)?;
        from_rows(gate_layout.shape(), row, |index, out| {
            swiglu_row(out, &gates[index * row..][..row], &ups[index * row..][..row]);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gate: &CudaStorage,
        gate_layout: &Layout,
        up: &CudaStorage,
        up_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::swiglu((gate, gate_layout), (up, up_layout))
    }
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, x_layout)?;
        let ys = values(y, y_layout)?;
        let row = row_length(x_layout)?;
        from_rows(x_layout.shape(), row, |index, out| {
            add_row(out, &xs[index * row..][..row], &ys[index * row..][..row]);
        })
    }
}

struct Modulate;

impl CustomOp2 for Modulate {
    fn name(&self) -> &'static str {
        "modulate"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, x_layout)?;
        let scales = values(scale, scale_layout)?;
        let (_, s, d) = x_layout.shape().dims3()?;
        from_rows(x_layout.shape(), d, |row, out| {
            modulate_row(out, &xs[row * d..][..d], &scales[row / s * d..][..d]);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        scale: &CudaStorage,
        scale_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::modulate((x, x_layout), (scale, scale_layout))
    }
}

struct GatedAdd;

impl CustomOp3 for GatedAdd {
    fn name(&self) -> &'static str {
        "gated-add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
        gate: &CpuStorage,
        gate_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, x_layout)?;
        let ys = values(y, y_layout)?;
        let gates = values(gate, gate_layout)?;
        let (_, s, d) = x_layout.shape().dims3()?;
        from_rows(x_layout.shape(), d, |row, out| {
            let gates = &gates[row / s * d..][..d];
            gated_add_row(out, &xs[row * d..][..d], &ys[row * d..][..d], gates);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        y: &CudaStorage,
        y_layout: &Layout,
        gate: &CudaStorage,
        gate_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::gated_add((x, x_layout), (y, y_layout), (gate, gate_layout))
    }
}

vectorised! {
    fn swiglu_row(out: &mut [f32], gates: &[f32], ups: &[f32]) {
        for ((out, &gate), &up) in out.iter_mut().zip(gates).zip(ups) {
            *out = silu(gate) * up;
        }
    }
}

vectorised! {
    fn add_row(out: &mut [f32], xs: &[f32], ys: &[f32]) {
        for ((out, &x), &y) in out.iter_mut().zip(xs).zip(ys) {
            *out = x + y;
        }
    }
}

vectorised! {
    fn modulate_row(out: &mut [f32], xs: &[f32], scales: &[f32]) {
        for ((out, &x), &scale) in out.iter_mut().zip(xs).zip(scales) {
            *out = x * scale;
        }
    }
}

vectorised! {
    fn gated_add_row(out: &mut [f32], xs: &[f32], ys: &[f32], gates: &[f32]) {
        for (((out, &x), &y), &gate) in out.iter_mut().zip(xs).zip(ys).zip(gates) {
            *out = gate.mul_add(y, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    #[test]
    fn swiglu_is_silu_of_the_gate_times_the_rest() {
        let (gate, up) = (values(&[2, 5, 37], 1), values(&[2, 5, 37], 2));
        let wide = (&gate * 30.0).expect("a product");
        assert_fast_is_plain([&wide, &strided(&up)], 1e-6, |[gate, up]| swiglu(gate, up));
        assert_half_is_near([&gate, &up], DType::BF16, |[gate, up]| swiglu(gate, up));
    }

    #[test]
    fn a_sum_is_by_element() {
        let (x, y) = (values(&[2, 3, 37], 1), values(&[2, 3, 37], 2));
        assert_fast_is_plain([&strided(&x), &y], 1e-7, |[x, y]| add(x, y));
        assert_half_is_near([&x, &y], DType::BF16, |[x, y]| add(x, y));
    }

    #[test]
    fn modulation_is_by_item() {
        let (x, scale) = (values(&[2, 3, 37], 1), values(&[2, 1, 37], 2));
        assert_fast_is_plain([&strided(&x), &scale], 1e-6, |[x, scale]| modulate(x, scale));
        assert_half_is_near([&x, &scale], DType::BF16, |[x, scale]| modulate(x, scale));
    }

    #[test]
    fn a_gated_sum_is_by_item() {
        let (x, y, gate) = (values(&[2, 3, 37], 1), values(&[2, 3, 37], 2), values(&[2, 1, 37], 3));
        assert_fast_is_plain([&x, &strided(&y), &gate], 1e-6, |[x, y, gate]| gated_add(x, y, gate));
        assert_half_is_near([&x, &y, &gate], DType::BF16, |[x, y, gate]| gated_add(x, y, gate));
    }
}
