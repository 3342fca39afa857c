//! Scaled dot-product attention. The scores never stand in memory whole: on a CPU and in one kernel
//! of a card they are computed head by head, elsewhere in blocks of queries.

mod blocks;
mod heads;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use self::heads::{AttentionShape, Heads};
use super::cpu::values;
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::{is_card_bf16, is_cpu_f32};
use crate::engine::Backend;

/// `softmax(q k^T * scale) v` for each head, softmax in f32: `q` (b, s, heads, head_dim), `k` and
/// `v` (b, t, key_heads, head_dim) with `heads` a multiple of `key_heads` (grouped queries). Under
/// `causal`, query i sees the keys up to i + t - s. Gives the shape of `q`. Takes the three, so
/// that they can go when they are read.
///
/// Scratch: [`attention_bytes`].
pub fn attention(q: Tensor, k: Tensor, v: Tensor, scale: f64, causal: bool) -> Result<Tensor> {
    let (_, _, heads, head_dim) = q.dims4()?;
    let is_plain = !causal && k.dim(2)? == heads;
    let is_fused = is_card_bf16(&q) && is_plain && FUSED_HEAD_DIMS.contains(&head_dim);
    if !is_cpu_f32(&q) && !is_fused {
        return blocks::attention(q, k, v, scale, causal);
    }
    let attend = AttendByHeads { scale: scale as f32, causal };
    q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &attend)
}

/// How wide the heads are for which a card has one kernel, where every query sees every key of its
/// own head.
const FUSED_HEAD_DIMS: [usize; 2] = [32, 128];

/// Attention as one operator, where it is one.
struct AttendByHeads {
    scale: f32,
    causal: bool,
}

impl CustomOp3 for AttendByHeads {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let heads = Heads {
            shape: AttentionShape::of(q_layout, k_layout)?,
            q: values(q, q_layout)?,
            k: values(k, k_layout)?,
            v: values(v, v_layout)?,
            scale: self.scale,
            causal: self.causal,
        };
        Ok((CpuStorage::F32(heads.attend()), q_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        q: &CudaStorage,
        q_layout: &Layout,
        k: &CudaStorage,
        k_layout: &Layout,
        v: &CudaStorage,
        v_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::attention([(q, q_layout), (k, k_layout), (v, v_layout)], self.scale)
    }
}

/// What [`attention`] allocates beside its result and the copies of its arguments; heads are
/// counted over all items. Without `causal`, heads do not share keys.
pub fn attention_bytes(
    backend: Backend,
    heads: usize,
    (queries, keys): (usize, usize),
    head_dim: usize,
    causal: bool,
) -> usize {
    match backend {
        Backend::Cpu { threads, .. } => heads::scratch_bytes(threads, heads, queries, keys),
        Backend::Cuda if !causal && FUSED_HEAD_DIMS.contains(&head_dim) => 0,
        Backend::Cuda => {
            blocks::scratch_bytes(backend.element_bytes(), heads, queries, keys, head_dim)
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::heads::MAX_QUERIES;
    use super::*;

    fn assert_right(queries: usize, keys: usize, heads: usize, key_heads: usize, causal: bool) {
        let q = (values(&[2, queries, heads, 20], 1) * 6.0).expect("a product");
        let (k, v) = (values(&[2, keys, key_heads, 20], 2), values(&[2, keys, key_heads, 20], 3));
        let attend =
            |[q, k, v]: [&Tensor; 3]| attention(q.clone(), k.clone(), v.clone(), 0.3, causal);
        assert_fast_is_plain([&q, &strided(&k), &v], 2e-6, attend);
        // candle multiplies no bf16 matrices on a CPU; f16 takes the same path.
        assert_half_is_near([&q, &k, &v], DType::F16, attend);
    }

    #[test]
    fn every_query_sees_every_key() {
        assert_right(37, 53, 3, 3, false);
    }

    #[test]
    fn several_blocks_of_queries_make_one_result() {
        assert_right(2 * MAX_QUERIES + 5, 70, 2, 2, false);
    }

    #[test]
    fn a_causal_query_sees_no_later_key() {
        assert_right(2 * MAX_QUERIES + 5, 2 * MAX_QUERIES + 5, 2, 2, true);
        assert_right(5, 37, 2, 2, true);
    }

    #[test]
    fn heads_in_a_group_share_keys_and_values() {
        assert_right(37, 53, 6, 2, false);
        assert_right(37, 37, 6, 2, true);
    }
}
