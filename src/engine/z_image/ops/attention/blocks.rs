//! Attention on other devices and in other types: the heads' blocks of queries together, by matrix
//! products.

use candle_core::{D, Device, Result, Tensor};

#[cfg(feature = "cuda")]
use super::super::cuda;
use super::super::moments::widened;

/// The most scores of one block. Far below the 2^31 elements that candle's kernels can index.
const BLOCK_SCORES: usize = 32 << 20;

/// On a card, one block's scores, which become weights where they are, and its queries and its
/// result.
pub(super) fn scratch_bytes(
    element_bytes: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
) -> usize {
    let scores = (heads * queries * keys).min(BLOCK_SCORES);
    element_bytes * (scores + 2 * scores / keys * dim)
}

/// The query heads that share a key head become rows of one product: keys and values are not
/// repeated.
pub(super) fn attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: f64,
    causal: bool,
) -> Result<Tensor> {
    let (b, s, heads, dim) = q.dims4()?;
    let (_, t, key_heads, _) = k.dims4()?;
    let group = heads / key_heads;
    let q = swapped(q)?.reshape((b, key_heads, group, s, dim))?;
    let (k, v) = (swapped(k)?.t()?, swapped(v)?);
    let out = Tensor::zeros((b, key_heads, group, s, dim), q.dtype(), q.device())?;
    let block = (BLOCK_SCORES / (b * heads * t)).clamp(1, s);
    for start in (0..s).step_by(block) {
        let rows = block.min(s - start);
        let queries = q.narrow(3, start, rows)?;
        // Without groups the product takes the rows where they are.
        let queries = if group == 1 {
            queries.squeeze(2)?
        } else {
            queries.reshape((b, key_heads, group * rows, dim))?
        };
        let scores = queries.matmul(&k)?.reshape((b * heads, rows, t))?;
        let seen = Seen { first: if causal { start + t - s + 1 } else { t } };
        let weights = softmax(scores, scale, seen)?.reshape((b, key_heads, group * rows, t))?;
        out.slice_set(&weights.matmul(&v)?.reshape((b, key_heads, group, rows, dim))?, 3, start)?;
    }
    drop((q, k, v));
    swapped(out.reshape((b, heads, s, dim))?)
}

/// (b, rows, columns, dim) as contiguous (b, columns, rows, dim). Takes `x`, which goes when it is
/// read.
fn swapped(x: Tensor) -> Result<Tensor> {
    let (b, rows, columns, dim) = x.dims4()?;
    if rows == 1 || columns == 1 {
        return x.reshape((b, columns, rows, dim));
    }
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(&x) {
        return cuda::swap(&x);
    }
    x.transpose(1, 2)?.contiguous()
}

/// How many keys a block's first query sees; each query sees one more than the one before it, to
/// all.
#[derive(Clone, Copy)]
pub(in super::super) struct Seen {
    pub(in super::super) first: usize,
}

impl Seen {
    /// What is added to the scores: (rows, keys).
    fn mask(self, rows: usize, keys: usize, device: &Device) -> Result<Tensor> {
        let of =
            |row: usize, key: usize| if key < self.first + row { 0.0 } else { f32::NEG_INFINITY };
        Tensor::from_iter((0..rows).flat_map(|row| (0..keys).map(move |key| of(row, key))), device)?
            .reshape((rows, keys))
    }
}

/// Softmax of `scores * scale` over the keys seen, in f32: (heads, rows, keys), in the type of
/// `scores`.
fn softmax(scores: Tensor, scale: f64, seen: Seen) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(&scores) {
        cuda::softmax(&scores, scale, seen)?;
        return Ok(scores);
    }
    let (_, rows, keys) = scores.dims3()?;
    let widened = widened(&scores);
    let mut wide = (scores.to_dtype(widened)? * scale)?;
    if seen.first < keys {
        wide = wide.broadcast_add(&seen.mask(rows, keys, scores.device())?.to_dtype(widened)?)?;
    }
    candle_nn::ops::softmax(&wide, D::Minus1)?.to_dtype(scores.dtype())
}
