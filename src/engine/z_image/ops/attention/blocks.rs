//! Attention on other devices and in other types: the heads' blocks of queries together, by matrix
//! products.

use candle_core::{D, Device, Result, Tensor};

#[cfg(feature = "cuda")]
use super::super::cuda;
#[cfg(feature = "cuda")]
use super::super::dispatch::is_card_bf16;
use super::super::moments::widened;

/// The most scores of one block. Far below the 2^31 elements that candle's kernels can index.
const BLOCK_SCORES: usize = 32 << 20;

/// Products of whole tiles: other numbers of rows leave a part of a card idle.
const BLOCK_MULTIPLE: usize = 128;

/// Queries in a block; heads are counted over all items.
fn query_block(heads: usize, queries: usize, keys: usize) -> usize {
    let most = BLOCK_SCORES / (heads * keys);
    let whole = most / BLOCK_MULTIPLE * BLOCK_MULTIPLE;
    let block = if whole > 0 { whole } else { most };
    block.clamp(1, queries)
}

/// On a card, one block's scores, which become weights where they are, and its queries and its
/// result.
pub(super) fn scratch_bytes(
    element_bytes: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
) -> usize {
    let rows = heads * query_block(heads, queries, keys);
    element_bytes * rows * (keys + 2 * dim)
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
    let block = query_block(b * heads, s, t);
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
        let first_seen = if causal { start + t - s + 1 } else { t };
        let weights =
            softmax(scores, scale, first_seen)?.reshape((b, key_heads, group * rows, t))?;
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
    if is_card_bf16(&x) {
        return x.contiguous()?.apply_op1_no_bwd(&cuda::Transpose);
    }
    x.transpose(1, 2)?.contiguous()
}

/// Softmax of `scores * scale` over the keys seen, in f32: (heads, rows, keys), in the type of
/// `scores`. The first row sees `first_seen` keys, and each row one more than the one before it, to
/// all.
fn softmax(scores: Tensor, scale: f64, first_seen: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if is_card_bf16(&scores) {
        scores.inplace_op1(&cuda::Softmax { scale, first_seen })?;
        return Ok(scores);
    }
    let (_, rows, keys) = scores.dims3()?;
    let widened = widened(&scores);
    let mut wide = (scores.to_dtype(widened)? * scale)?;
    if first_seen < keys {
        let mask = causal_mask(first_seen, (rows, keys), scores.device())?;
        wide = wide.broadcast_add(&mask.to_dtype(widened)?)?;
    }
    candle_nn::ops::softmax(&wide, D::Minus1)?.to_dtype(scores.dtype())
}

/// What is added to the scores so that each row sees its keys only.
fn causal_mask(first_seen: usize, (rows, keys): (usize, usize), device: &Device) -> Result<Tensor> {
    let of = |row: usize, key: usize| if key < first_seen + row { 0.0 } else { f32::NEG_INFINITY };
    let values = (0..rows).flat_map(|row| (0..keys).map(move |key| of(row, key)));
    Tensor::from_iter(values, device)?.reshape((rows, keys))
}

#[cfg(test)]
mod tests {
    use super::query_block;

    #[test]
    fn a_block_has_whole_tiles_where_it_may_have_one() {
        // 30 heads over 4,160 rows, as at 1024x1024; then over 20,000; fewer queries than a block.
        assert_eq!(query_block(30, 4160, 4160), 256);
        assert_eq!(query_block(30, 20_000, 20_000), 55);
        assert_eq!(query_block(30, 100, 4160), 100);
    }

    #[test]
    fn one_query_is_a_block_where_its_scores_are_too_many() {
        assert_eq!(query_block(40, 5, 1 << 20), 1);
    }
}
