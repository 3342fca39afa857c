//! Scaled dot-product attention in blocks of queries, so that the scores never stand in memory whole.

use candle_core::{D, DType, Device, Result, Shape, Tensor};
use rayon::prelude::*;

use super::super::predict::Arithmetic;
use super::cpu::{exp, is_cpu_f32, sum_of, vectorised, with_values, zeros};
use super::matrix::{Matrix, SharedStart, product};

/// The most that one block's scores take in f32 on other devices and types. Far below the 2^31 elements that candle's
/// kernels can index.
const SCORE_BYTES: usize = 128 << 20;

/// The same on a CPU, for each thread: within a core's share of the last cache.
const THREAD_SCORE_BYTES: usize = 4 << 20;

/// Fewer queries than this in a block would make packing the keys cost more than the products.
const MIN_QUERIES: usize = 16;

/// More queries than this in a block gain nothing, and leave threads idle at the end.
const MAX_QUERIES: usize = 256;

/// `softmax(q k^T * scale) v` for each head, softmax in f32: `q` (b, s, heads, head_dim), `k` and `v` (b, t,
/// key_heads, head_dim) with `heads` a multiple of `key_heads` (grouped queries). Under `causal`, query i sees the keys
/// up to i + t - s. Gives the shape of `q`.
///
/// Scratch: [`attention_bytes`].
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, causal: bool) -> Result<Tensor> {
    if !is_cpu_f32(q) {
        return plain_attention(q, k, v, scale, causal);
    }
    let sizes = Sizes::of(q, k)?;
    with_values([&q.contiguous()?, &k.contiguous()?, &v.contiguous()?], |[q, k, v]| {
        let out = sizes.attend(q, k, v, scale as f32, causal);
        Tensor::from_vec(out, q_shape(&sizes), &Device::Cpu)
    })
}

/// What [`attention`] allocates beside its result and the copies of its arguments.
pub fn attention_bytes(arithmetic: Arithmetic, batch: usize, heads: usize, queries: usize, keys: usize) -> usize {
    match arithmetic {
        Arithmetic::Cpu { threads } => {
            let block = query_block(queries, keys);
            threads.min(batch * heads * queries.div_ceil(block)) * 4 * block * keys
        }
        // Scores, and inside softmax their differences from the largest, the powers, the quotients.
        Arithmetic::Cuda => 4 * (4 * batch * heads * queries * keys).min(SCORE_BYTES),
    }
}

/// Queries in a block on a CPU.
fn query_block(queries: usize, keys: usize) -> usize {
    (THREAD_SCORE_BYTES / (4 * keys)).clamp(MIN_QUERIES, MAX_QUERIES).min(queries)
}

fn q_shape(sizes: &Sizes) -> Shape {
    (sizes.batch, sizes.queries, sizes.heads, sizes.dim).into()
}

/// The sizes of one attention.
struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    key_heads: usize,
    dim: usize,
}

impl Sizes {
    fn of(q: &Tensor, k: &Tensor) -> Result<Sizes> {
        let (batch, queries, heads, dim) = q.dims4()?;
        let (_, keys, key_heads, _) = k.dims4()?;
        Ok(Sizes { batch, queries, keys, heads, key_heads, dim })
    }

    /// One task for each block of queries of each head of each item.
    fn attend(&self, q: &[f32], k: &[f32], v: &[f32], scale: f32, causal: bool) -> Vec<f32> {
        let mut out = zeros(q.len());
        let out_start = SharedStart::of(&mut out);
        let block = query_block(self.queries, self.keys);
        let blocks = self.queries.div_ceil(block);
        (0..self.batch * self.heads * blocks).into_par_iter().for_each_init(
            || vec![0.0; block * self.keys],
            |scores, task| {
                let (item, head, first) =
                    (task / (self.heads * blocks), task / blocks % self.heads, task % blocks * block);
                let rows = block.min(self.queries - first);
                let q_at = ((item * self.queries + first) * self.heads + head) * self.dim;
                let kv_at = (item * self.keys * self.key_heads + head / (self.heads / self.key_heads)) * self.dim;
                let seen = if causal { first + rows + self.keys - self.queries } else { self.keys };
                let (q_step, kv_step) = (self.heads * self.dim, self.key_heads * self.dim);

                let q = Matrix { values: &q[q_at..], row_step: q_step, column_step: 1 };
                let keys = Matrix { values: &k[kv_at..], row_step: 1, column_step: kv_step };
                let values = Matrix { values: &v[kv_at..], row_step: kv_step, column_step: 1 };
                let scores = &mut scores[..rows * seen];
                // SAFETY: `scores` holds rows * seen values, rows `seen` apart.
                unsafe { product(scores.as_mut_ptr(), seen, &q, &keys, (rows, seen, self.dim), scale, 1) };
                let hidden_of = |row: usize| if causal { rows - 1 - row } else { 0 };
                for (row, scores) in scores.chunks_exact_mut(seen).enumerate() {
                    softmax(scores, seen - hidden_of(row));
                }
                let weights = Matrix { values: scores, row_step: seen, column_step: 1 };
                // SAFETY: the rows `first..first + rows` of this head of this item lie within `out`, and no other
                // task writes them.
                unsafe { product(out_start.at(q_at), q_step, &weights, &values, (rows, self.dim, seen), 1.0, 1) };
            },
        );
        out
    }
}

vectorised! {
    /// Softmax over the first `seen` scores; the others become 0.
    fn softmax(scores: &mut [f32], seen: usize) {
        let (scores, hidden) = scores.split_at_mut(seen);
        hidden.fill(0.0);
        let max = max_of(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - max);
        }
        let factor = 1.0 / sum_of(scores, |score| score);
        for score in scores {
            *score *= factor;
        }
    }
}

/// The largest value, in lanes that the compiler can keep in vector registers.
#[inline(always)]
fn max_of(values: &[f32]) -> f32 {
    const LANES: usize = 64;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &value| larger(max, value))
}

fn plain_attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, causal: bool) -> Result<Tensor> {
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
        let mut scores = queries.matmul(&k)?;
        if scores.dtype() != DType::F64 {
            scores = scores.to_dtype(DType::F32)?;
        }
        if causal {
            let mask = causal_mask(start + t - s, rows, t, q.device())?.to_dtype(scores.dtype())?;
            let by_row = scores.reshape((b * key_heads * group, rows, t))?;
            scores = by_row.broadcast_add(&mask)?.reshape(scores.shape())?;
        }
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(v.dtype())?;
        outputs.push(weights.matmul(&v)?.reshape((b, key_heads, group, rows, dim))?);
    }
    Tensor::cat(&outputs, 3)?.permute((0, 3, 1, 2, 4))?.reshape((b, s, heads, dim))
}

/// What is added to the scores of `rows` queries, the first of which sees the keys up to `last_seen`: (rows, keys).
fn causal_mask(last_seen: usize, rows: usize, keys: usize, device: &Device) -> Result<Tensor> {
    let mask: Vec<f32> = (0..rows)
        .flat_map(|row| (0..keys).map(move |key| if key > last_seen + row { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (rows, keys), device)
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    fn assert_right(queries: usize, keys: usize, heads: usize, key_heads: usize, causal: bool) {
        let q = (values(&[2, queries, heads, 20], 1) * 6.0).expect("a product");
        let (k, v) = (values(&[2, keys, key_heads, 20], 2), values(&[2, keys, key_heads, 20], 3));
        assert_fast_is_plain([&q, &strided(&k), &v], 2e-6, |[q, k, v]| attention(q, k, v, 0.3, causal));
        // candle multiplies no bf16 matrices on a CPU; f16 takes the same path.
        assert_half_is_near([&q, &k, &v], DType::F16, |[q, k, v]| attention(q, k, v, 0.3, causal));
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
