//! Element-wise operations of the transformer block. None needs scratch.

use candle_core::{D, Result, Tensor};

use super::cpu::{from_rows, is_cpu_f32, silu, vectorised, with_values};
#[cfg(feature = "cuda")]
use super::cuda;

/// `silu(gate) * up`, element by element.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(gate) {
        return cuda::swiglu(gate, up);
    }
    if !is_cpu_f32(gate) {
        return gate.silu()? * up;
    }
    let row = gate.dim(D::Minus1)?;
    with_values([&gate.contiguous()?, &up.contiguous()?], |[gates, ups]| {
        from_rows(gate.shape(), row, |index, out| {
            swiglu_row(out, &gates[index * row..][..row], &ups[index * row..][..row]);
        })
    })
}

/// `x + y` of one shape: a residual connection.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !is_cpu_f32(x) {
        return x + y;
    }
    let row = x.dim(D::Minus1)?;
    with_values([&x.contiguous()?, &y.contiguous()?], |[xs, ys]| {
        from_rows(x.shape(), row, |index, out| {
            add_row(out, &xs[index * row..][..row], &ys[index * row..][..row])
        })
    })
}

/// `x * scale`: `x` (b, s, d), `scale` (b, 1, d).
pub fn modulate(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(x) {
        return cuda::modulate(x, scale);
    }
    if !is_cpu_f32(x) {
        return x.broadcast_mul(scale);
    }
    let (_, s, d) = x.dims3()?;
    with_values([&x.contiguous()?, &scale.contiguous()?], |[xs, scales]| {
        from_rows(x.shape(), d, |row, out| {
            modulate_row(out, &xs[row * d..][..d], &scales[row / s * d..][..d]);
        })
    })
}

/// `x + gate * y`: `x` and `y` (b, s, d), `gate` (b, 1, d).
pub fn gated_add(x: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(x) {
        return cuda::gated_add(x, y, gate);
    }
    if !is_cpu_f32(x) {
        return x + y.broadcast_mul(gate)?;
    }
    let (_, s, d) = x.dims3()?;
    with_values([&x.contiguous()?, &y.contiguous()?, &gate.contiguous()?], |[xs, ys, gates]| {
        from_rows(x.shape(), d, |row, out| {
            gated_add_row(
                out,
                &xs[row * d..][..d],
                &ys[row * d..][..d],
                &gates[row / s * d..][..d],
            );
        })
    })
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
