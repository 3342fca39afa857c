//! Attention for f32 on a CPU: each head's blocks of queries one by one, on all threads.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::super::cpu::{exp, sum_of, vectorised, zeros};
use super::super::matrix::{Matrix, SharedStart, product};

/// The most that a thread's block of scores takes: within a core's share of the last cache.
const THREAD_SCORE_BYTES: usize = 4 << 20;

/// Fewer queries than this in a block would make packing the keys cost more than the products.
const MIN_QUERIES: usize = 16;

/// More queries than this in a block gain nothing, and leave threads idle at the end.
pub(super) const MAX_QUERIES: usize = 256;

/// Each thread's block of scores.
pub(super) fn scratch_bytes(threads: usize, heads: usize, queries: usize, keys: usize) -> usize {
    let block = query_block(queries, keys);
    threads.min(heads * queries.div_ceil(block)) * 4 * block * keys
}

/// Queries in a block.
fn query_block(queries: usize, keys: usize) -> usize {
    (THREAD_SCORE_BYTES / (4 * keys)).clamp(MIN_QUERIES, MAX_QUERIES).min(queries)
}

/// The sizes of one attention.
pub(super) struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    key_heads: usize,
    dim: usize,
}

impl Sizes {
    pub(super) fn of(q: &Tensor, k: &Tensor) -> Result<Sizes> {
        let (batch, queries, heads, dim) = q.dims4()?;
        let (_, keys, key_heads, _) = k.dims4()?;
        Ok(Sizes { batch, queries, keys, heads, key_heads, dim })
    }

    /// One task for each block of queries of each head of each item.
    pub(super) fn attend(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        scale: f32,
        causal: bool,
    ) -> Vec<f32> {
        let mut out = zeros(q.len());
        let out_start = SharedStart::of(&mut out);
        let block = query_block(self.queries, self.keys);
        let blocks = self.queries.div_ceil(block);
        (0..self.batch * self.heads * blocks).into_par_iter().for_each_init(
            || vec![0.0; block * self.keys],
            |scores, task| {
                let (item, head, first) = (
                    task / (self.heads * blocks),
                    task / blocks % self.heads,
                    task % blocks * block,
                );
                let rows = block.min(self.queries - first);
                let q_at = ((item * self.queries + first) * self.heads + head) * self.dim;
                let kv_at = (item * self.keys * self.key_heads
                    + head / (self.heads / self.key_heads))
                    * self.dim;
                let seen = if causal { first + rows + self.keys - self.queries } else { self.keys };
                let (q_step, kv_step) = (self.heads * self.dim, self.key_heads * self.dim);

                let q = Matrix { values: &q[q_at..], row_step: q_step, column_step: 1 };
                let keys = Matrix { values: &k[kv_at..], row_step: 1, column_step: kv_step };
                let values = Matrix { values: &v[kv_at..], row_step: kv_step, column_step: 1 };
                let scores = &mut scores[..rows * seen];
                // SAFETY: `scores` holds rows * seen values, rows `seen` apart.
                unsafe {
                    product(scores.as_mut_ptr(), seen, &q, &keys, (rows, seen, self.dim), scale, 1)
                };
                let hidden_of = |row: usize| if causal { rows - 1 - row } else { 0 };
                for (row, scores) in scores.chunks_exact_mut(seen).enumerate() {
                    softmax(scores, seen - hidden_of(row));
                }
                let weights = Matrix { values: scores, row_step: seen, column_step: 1 };
                // SAFETY: the rows `first..first + rows` of this head of this item lie within
                // `out`, and no other task writes them.
                unsafe {
                    product(
                        out_start.at(q_at),
                        q_step,
                        &weights,
                        &values,
                        (rows, self.dim, seen),
                        1.0,
                        1,
                    )
                };
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
