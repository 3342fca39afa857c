//! The product of rows of eight bits on a CPU.
//!
//! Tiles of both factors are widened to f32 and multiplied by the product that f32 has anyway. A
//! sum of so few products of whole numbers is exact there; longer ones are added up in 32 bits.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use crate::engine::z_image::ops::cpu::{vectorised, zeros};
use crate::engine::z_image::ops::matmul::{MatrixView, OutputPart, SharedOutput, matmul};

/// Rows and outputs that one task multiplies.
const SIDE: usize = 128;

/// Products that are summed in f32. The largest sum of them is exact there.
const PIECE: usize = 512;
const _: () = assert!(PIECE * 127 * 127 < 1 << f32::MANTISSA_DIGITS);

/// What one task needs.
pub(super) const TILE_BYTES: usize = 4 * (2 * SIDE * PIECE + 2 * SIDE * SIDE);

/// Rows of eight bits on the host.
pub(super) struct RowsView<'a> {
    rows: &'a [i8],
    /// An f32 each, in two halves.
    scales: &'a [[bf16; 2]],
    count: usize,
    width: usize,
}

impl<'a> RowsView<'a> {
    /// `bits` are all rows, then all scales.
    pub fn new(bits: &'a [bf16], count: usize, width: usize) -> RowsView<'a> {
        let (rows, scales) = bits.split_at(count * width / size_of::<bf16>());
        let scales = scales.as_chunks().0;
        assert_eq!(scales.len(), count);
        RowsView { rows: bytemuck::cast_slice(rows), scales, count, width }
    }

    pub fn row(&self, row: usize) -> &'a [i8] {
        &self.rows[row * self.width..][..self.width]
    }

    pub fn scale(&self, row: usize) -> f32 {
        let [low, high] = self.scales[row].map(|half| u32::from(half.to_bits()));
        f32::from_bits(low | high << 16)
    }

    /// Widens these columns of these rows, one row after the other.
    fn widen(&self, rows: Range<usize>, columns: &Range<usize>, out: &mut [f32]) {
        for (row, out) in rows.zip(out.chunks_exact_mut(columns.len())) {
            widen(&self.row(row)[columns.clone()], out);
        }
    }
}

/// An f32 as [`RowsView`] has it.
pub(super) fn halves_of(scale: f32) -> [bf16; 2] {
    let bits = scale.to_bits();
    [bits as u16, (bits >> 16) as u16].map(bf16::from_bits)
}

/// `a` times the transposed `b`, which has rows of the same width.
pub(super) fn product(a: &RowsView, b: &RowsView) -> Vec<f32> {
    let mut out = zeros(a.count * b.count);
    let shared = SharedOutput::new(&mut out);
    let across = b.count.div_ceil(SIDE);
    let tiles = (0..a.count.div_ceil(SIDE) * across).into_par_iter();
    tiles.for_each_init(Tile::new, |tile, number| {
        let rows = side(number / across, a.count);
        let outputs = side(number % across, b.count);
        let size = (rows.len(), outputs.len());
        // SAFETY: no two tiles have a row and an output in common.
        let out = unsafe { shared.part(rows.start * b.count + outputs.start, b.count, size) };
        tile.multiply((a, rows), (b, outputs), out);
    });
    out
}

/// The rows of tile `number` of so many.
fn side(number: usize, count: usize) -> Range<usize> {
    number * SIDE..count.min((number + 1) * SIDE)
}

/// Room for one task.
struct Tile {
    a: Vec<f32>,
    b: Vec<f32>,
    product: Vec<f32>,
    sums: Vec<i32>,
}

impl Tile {
    fn new() -> Tile {
        let wide = || vec![0.0; SIDE * PIECE];
        let (product, sums) = (vec![0.0; SIDE * SIDE], vec![0; SIDE * SIDE]);
        Tile { a: wide(), b: wide(), product, sums }
    }

    fn multiply(
        &mut self,
        (a, rows): (&RowsView, Range<usize>),
        (b, outputs): (&RowsView, Range<usize>),
        mut out: OutputPart,
    ) {
        let sums = &mut self.sums[..rows.len() * outputs.len()];
        sums.fill(0);
        for start in (0..a.width).step_by(PIECE) {
            let columns = start..a.width.min(start + PIECE);
            a.widen(rows.clone(), &columns, &mut self.a);
            b.widen(outputs.clone(), &columns, &mut self.b);
            let view = |values| MatrixView { values, row_step: columns.len(), column_step: 1 };
            let mut product = OutputPart::of(&mut self.product, rows.len(), outputs.len());
            matmul(&mut product, &view(&self.a), &view(&self.b).transposed(), columns.len(), 1.0);
            add(sums, &self.product);
        }
        let scales: Vec<f32> = outputs.clone().map(|output| b.scale(output)).collect();
        let lines = rows.zip(sums.chunks_exact(outputs.len()));
        for ((row, sums), out) in lines.zip(out.rows_mut()) {
            scale(out, sums, &scales, a.scale(row));
        }
    }
}

vectorised! {
    fn widen(row: &[i8], out: &mut [f32]) {
        row.iter().zip(out).for_each(|(value, out)| *out = f32::from(*value));
    }
}

vectorised! {
    fn add(sums: &mut [i32], product: &[f32]) {
        sums.iter_mut().zip(product).for_each(|(sum, value)| *sum += *value as i32);
    }
}

vectorised! {
    fn scale(out: &mut [f32], sums: &[i32], scales: &[f32], row_scale: f32) {
        for ((out, sum), scale) in out.iter_mut().zip(sums).zip(scales) {
            *out = *sum as f32 * (scale * row_scale);
        }
    }
}
