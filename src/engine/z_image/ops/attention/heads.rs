//! Attention for f32 on a CPU: each head's blocks of queries one by one, on all threads.

use std::ops::Range;

use candle_core::{Layout, Result};
use rayon::prelude::*;

use super::super::cpu::{exp, sum_of, vectorised, zeros};
use super::super::matmul::{MatrixView, OutputPart, SharedOutput, matmul};

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
pub(super) struct AttentionShape {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    key_heads: usize,
    dim: usize,
}

/// A block of queries of one head of one item, which one thread computes.
struct Task {
    item: usize,
    head: usize,
    queries: Range<usize>,
}

/// The arguments of one attention: q (batch, queries, heads, dim), k and v (batch, keys, key_heads,
/// dim).
pub(super) struct Heads<'a> {
    pub shape: AttentionShape,
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub scale: f32,
    pub causal: bool,
}

impl AttentionShape {
    pub fn of(q: &Layout, k: &Layout) -> Result<AttentionShape> {
        let (batch, queries, heads, dim) = q.shape().dims4()?;
        let (_, keys, key_heads, _) = k.shape().dims4()?;
        Ok(AttentionShape { batch, queries, keys, heads, key_heads, dim })
    }

    /// The task of this number, of `batch * heads * blocks` with so many queries in a block.
    fn task(&self, number: usize, block: usize) -> Task {
        let blocks = self.queries.div_ceil(block);
        let first = number % blocks * block;
        Task {
            item: number / (self.heads * blocks),
            head: number / blocks % self.heads,
            queries: first..(first + block).min(self.queries),
        }
    }
}

impl Heads<'_> {
    /// (batch, queries, heads, dim): one task for each block of queries of each head of each item.
    pub fn attend(&self) -> Vec<f32> {
        let shape = &self.shape;
        let mut out = zeros(self.q.len());
        let output = SharedOutput::new(&mut out);
        let block = query_block(shape.queries, shape.keys);
        let tasks = shape.batch * shape.heads * shape.queries.div_ceil(block);
        (0..tasks).into_par_iter().for_each_init(
            || vec![0.0; block * shape.keys],
            |scores, number| self.attend_task(&shape.task(number, block), scores, output),
        );
        out
    }

    fn attend_task(&self, task: &Task, scores: &mut [f32], output: SharedOutput) {
        let rows = task.queries.len();
        let keys = self.seen_by_last(task);
        let scores = &mut scores[..rows * keys];
        self.weigh(task, scores, keys);
        let weights = MatrixView { values: scores, row_step: keys, column_step: 1 };
        let shape = &self.shape;
        let (offset, row_step) = (self.query_offset(task), shape.heads * shape.dim);
        // SAFETY: no other task has these queries of this head of this item.
        let mut out = unsafe { output.part(offset, row_step, (rows, shape.dim)) };
        matmul(&mut out, &weights, &self.of_keys(self.v, task), keys, 1.0);
    }

    /// Writes `scores` (queries, keys): the softmax of `q k^T * scale` over the keys that each
    /// query sees.
    fn weigh(&self, task: &Task, scores: &mut [f32], keys: usize) {
        let shape = &self.shape;
        let rows = task.queries.len();
        let queries = MatrixView {
            values: &self.q[self.query_offset(task)..],
            row_step: shape.heads * shape.dim,
            column_step: 1,
        };
        let mut out = OutputPart::of(scores, rows, keys);
        matmul(&mut out, &queries, &self.of_keys(self.k, task).transposed(), shape.dim, self.scale);
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let hidden = if self.causal { rows - 1 - row } else { 0 };
            softmax(scores, keys - hidden);
        }
    }

    /// How many keys the last query of the task sees: the others see no more.
    fn seen_by_last(&self, task: &Task) -> usize {
        let shape = &self.shape;
        if self.causal { task.queries.end + shape.keys - shape.queries } else { shape.keys }
    }

    /// Where the task's first query starts in `q`, and its result in the output.
    fn query_offset(&self, task: &Task) -> usize {
        let shape = &self.shape;
        ((task.item * shape.queries + task.queries.start) * shape.heads + task.head) * shape.dim
    }

    /// Keys or values of the task's head, (keys, dim): a group of heads shares them.
    fn of_keys<'b>(&self, values: &'b [f32], task: &Task) -> MatrixView<'b> {
        let shape = &self.shape;
        let key_head = task.head / (shape.heads / shape.key_heads);
        let offset = (task.item * shape.keys * shape.key_heads + key_head) * shape.dim;
        let row_step = shape.key_heads * shape.dim;
        MatrixView { values: &values[offset..], row_step, column_step: 1 }
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
        let inverse_sum = 1.0 / sum_of(scores, |score| score);
        for score in scores {
            *score *= inverse_sum;
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
