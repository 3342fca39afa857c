//! Element-wise operations of the transformer block. None needs scratch.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

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
}
