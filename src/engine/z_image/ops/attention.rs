//! Scaled dot-product attention in blocks of queries, so that the scores never stand in memory whole.

use candle_core::{D, DType, Result, Tensor};

/// The most that one block's scores take, counted in f32. Far below the 2^31 elements that candle's kernels can index.
const SCORE_BYTES: usize = 128 << 20;

/// `softmax(q k^T * scale) v` for each head, softmax in f32: `q` (b, s, heads, head_dim), `k` and `v` (b, t,
/// key_heads, head_dim) with `heads` a multiple of `key_heads` (grouped queries). Under `causal`, query i sees the keys
/// up to i + t - s. Gives the shape of `q`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, causal: bool) -> Result<Tensor> {
    let (b, s, heads, dim) = q.dims4()?;
    let (_, t, key_heads, _) = k.dims4()?;
    let group = heads / key_heads;
    // The query heads that share a key head become rows of one product: keys and values are not repeated.
    let q = (q * scale)?.reshape((b, s, key_heads, group, dim))?.permute((0, 2, 3, 1, 4))?;
    let k = k.permute((0, 2, 3, 1))?.contiguous()?;
    let v = v.transpose(1, 2)?.contiguous()?;
    let block = (SCORE_BYTES / (4 * b * heads * t)).clamp(1, s);
    let mut outputs = Vec::with_capacity(s.div_ceil(block));
    for start in (0..s).step_by(block) {
        let rows = block.min(s - start);
        let queries = q.narrow(3, start, rows)?.contiguous()?.reshape((b, key_heads, group * rows, dim))?;
        let mut scores = queries.matmul(&k)?.to_dtype(DType::F32)?;
        if causal {
            let hidden = hidden_keys(start + t - s, rows, t, q.device())?.unsqueeze(0)?;
            let by_row = scores.reshape((b * key_heads * group, rows, t))?;
            scores = by_row.broadcast_add(&hidden)?.reshape(scores.shape())?;
        }
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(v.dtype())?;
        outputs.push(weights.matmul(&v)?.reshape((b, key_heads, group, rows, dim))?);
    }
    Tensor::cat(&outputs, 3)?.permute((0, 3, 1, 2, 4))?.reshape((b, s, heads, dim))
}

/// What a causal mask adds to the scores of `rows` queries, of which the first sees the keys up to `first_last`.
fn hidden_keys(first_last: usize, rows: usize, keys: usize, device: &candle_core::Device) -> Result<Tensor> {
    let mask: Vec<f32> = (0..rows)
        .flat_map(|row| (0..keys).map(move |key| if key > first_last + row { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (rows, keys), device)
}
