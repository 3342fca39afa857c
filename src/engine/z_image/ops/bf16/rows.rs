//! The dot products of rows of bf16, by the processor's own instruction (`vdpbf16ps`): it multiplies
//! 32 values with 32 others, each pair exactly, and adds the products in f32.

use std::ops::Range;

use half::bf16;

use crate::engine::z_image::ops::cpu::vectorised;
use crate::engine::z_image::ops::matmul::OutputPart;

/// Rows and columns of a product that are computed together. Their sums fill most of the vector
/// registers, so that each value that is loaded is used several times.
pub(super) const TILE_ROWS: usize = 6;
const TILE_COLUMNS: usize = 4;

/// Rows of equal length, all of which lie within the values.
pub(super) struct HalfRows<'a> {
    values: &'a [bf16],
    /// How far apart rows begin.
    step: usize,
    count: usize,
    width: usize,
}

impl<'a> HalfRows<'a> {
    /// `values` are rows of `width`, one after the other.
    pub fn new(values: &'a [bf16], width: usize) -> HalfRows<'a> {
        HalfRows::strided(values, width, [values.len() / width, width])
    }

    /// `count` rows of `width` values, which begin `step` values apart.
    fn strided(values: &'a [bf16], step: usize, [count, width]: [usize; 2]) -> HalfRows<'a> {
        assert!(count == 0 || (count - 1) * step + width <= values.len());
        HalfRows { values, step, count, width }
    }

    /// Of these rows these columns.
    pub fn part(&self, rows: &Range<usize>, columns: &Range<usize>) -> HalfRows<'a> {
        assert!(rows.end <= self.count && columns.end <= self.width);
        let values = &self.values[rows.start * self.step + columns.start..];
        HalfRows::strided(values, self.step, [rows.len(), columns.len()])
    }

    /// Where the rows from number `first` on begin; in place of those behind the last one, the last
    /// one again.
    fn starts<const ROWS: usize>(&self, first: usize) -> [*const bf16; ROWS] {
        let last = self.count - 1;
        // SAFETY: all rows lie within the values.
        std::array::from_fn(|nth| unsafe {
            self.values.as_ptr().add((first + nth).min(last) * self.step)
        })
    }

    /// Writes, or adds, the dot product of each row with each of `other`, which are as long:
    /// `out` is (rows, other rows). On this thread.
    pub fn multiply(&self, other: &HalfRows, out: &mut OutputPart, adds: bool) {
        assert_eq!(self.width, other.width);
        for column in (0..other.count).step_by(TILE_COLUMNS) {
            let columns = other.starts(column);
            for first in (0..self.count).step_by(TILE_ROWS) {
                // SAFETY: the rows of both have so many values.
                let sums = unsafe { dots(self.starts(first), columns, self.width) };
                for (out, sums) in out.rows_from(first).zip(&sums) {
                    write(&mut out[column..], sums, adds);
                }
            }
        }
    }
}

/// Writes, or adds, as many sums as there is room for.
#[inline(always)]
fn write(out: &mut [f32], sums: &[f32; TILE_COLUMNS], adds: bool) {
    let one = |(out, sum): (&mut f32, &f32)| *out = if adds { *out + sum } else { *sum };
    match out.first_chunk_mut::<TILE_COLUMNS>() {
        // As most are: one vector.
        Some(out) => out.iter_mut().zip(sums).for_each(one),
        None => out.iter_mut().zip(sums).for_each(one),
    }
}

/// Whether this processor multiplies rows of bf16.
pub(super) fn are_multiplied() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The dot product of each of `rows` with each of `columns`, by where they begin.
///
/// # Safety
/// All of them have `width` values.
unsafe fn dots(
    rows: [*const bf16; TILE_ROWS],
    columns: [*const bf16; TILE_COLUMNS],
    width: usize,
) -> Sums {
    #[cfg(target_arch = "x86_64")]
    if are_multiplied() {
        // SAFETY: the processor has what the function is compiled for; the rest as the caller
        // promises.
        return unsafe { instructed::dots(rows, columns, width) };
    }
    // SAFETY: as the caller promises.
    let values = |start| unsafe { std::slice::from_raw_parts(start, width) };
    let product = |(x, y): (&bf16, &bf16)| x.to_f32() * y.to_f32();
    let dot = |row, column| values(row).iter().zip(values(column)).map(product).sum();
    rows.map(|row| columns.map(|column| dot(row, column)))
}

type Sums = [[f32; TILE_COLUMNS]; TILE_ROWS];

#[cfg(target_arch = "x86_64")]
mod instructed {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::{Sums, TILE_COLUMNS, TILE_ROWS};

    /// Values of one vector.
    const LANES: usize = 32;

    /// Sums as they are made, each in the 16 lanes of a register.
    type Lanes = [[__m512; TILE_COLUMNS]; TILE_ROWS];

    /// # Safety
    /// All rows and columns have `width` values.
    #[target_feature(enable = "avx512bf16,avx512bw,avx512dq")]
    pub unsafe fn dots(
        rows: [*const bf16; TILE_ROWS],
        columns: [*const bf16; TILE_COLUMNS],
        width: usize,
    ) -> Sums {
        let mut lanes = [[_mm512_setzero_ps(); TILE_COLUMNS]; TILE_ROWS];
        let whole = width / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            // SAFETY: as the caller promises.
            unsafe { add(&mut lanes, rows, columns, start, u32::MAX) };
        }
        if whole < width {
            // SAFETY: the mask leaves out what lies behind the rows.
            unsafe { add(&mut lanes, rows, columns, whole, (1 << (width - whole)) - 1) };
        }
        let mut sums = Sums::default();
        for (sums, lanes) in sums.iter_mut().zip(lanes) {
            *sums = totals(lanes);
        }
        sums
    }

    /// Adds the products of the values from number `start` on, of those in the mask.
    ///
    /// # Safety
    /// All rows and columns have these values.
    #[inline]
    #[target_feature(enable = "avx512bf16,avx512bw,avx512dq")]
    unsafe fn add(
        lanes: &mut Lanes,
        rows: [*const bf16; TILE_ROWS],
        columns: [*const bf16; TILE_COLUMNS],
        start: usize,
        mask: u32,
    ) {
        // SAFETY: as the caller promises.
        let load = |row: *const bf16| unsafe {
            let values = _mm512_maskz_loadu_epi16(mask, row.add(start).cast());
            std::mem::transmute::<__m512i, __m512bh>(values)
        };
        let columns = columns.map(load);
        for (row, lanes) in rows.into_iter().zip(lanes) {
            let row = load(row);
            for (lanes, column) in lanes.iter_mut().zip(columns) {
                *lanes = _mm512_dpbf16_ps(*lanes, row, column);
            }
        }
    }

    /// The sum of the lanes of each of four registers: those of two are added pair by pair, so that
    /// half as many additions do.
    #[target_feature(enable = "avx512f,avx512dq")]
    fn totals([a, b, c, d]: [__m512; TILE_COLUMNS]) -> [f32; TILE_COLUMNS] {
        let pairs = |x, y| _mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y));
        let [ab, cd] = [pairs(a, b), pairs(c, d)].map(|pair| _mm512_castps_pd(pair));
        let quads = [_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd)];
        let quads = _mm512_add_ps(_mm512_castpd_ps(quads[0]), _mm512_castpd_ps(quads[1]));
        let halves =
            _mm256_add_ps(_mm512_castps512_ps256(quads), _mm512_extractf32x8_ps::<1>(quads));
        let total = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
        // SAFETY: both are 16 bytes, in the same order.
        unsafe { std::mem::transmute::<__m128, [f32; TILE_COLUMNS]>(total) }
    }
}

vectorised! {
    /// `values` to the nearest bf16, ties to the even one.
    pub(super) fn round(values: &[f32], rounded: &mut [bf16]) {
        values.iter().zip(rounded).for_each(|(value, out)| *out = bf16::from_f32(*value));
    }
}
