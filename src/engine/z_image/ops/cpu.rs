//! What the fast f32 paths share: a look into operands, rows filled in parallel, loops compiled for
//! the machine's vector instructions, and an exponential that such loops can hold.

use std::ops::Deref;

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use crate::engine::z_image::host::prefer_large_pages;

/// Values that one parallel task writes: long enough (64 KiB) to hide rayon's cost, short enough to
/// stay in a cache.
const TASK_VALUES: usize = 16 * 1024;

/// The values of an operator's argument, which must be contiguous f32.
pub(super) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(all), Some((start, end))) => Ok(&all[start..end]),
        _ => bail!("a fast path was given values that are not contiguous f32"),
    }
}

/// Reads the values of a contiguous f32 tensor on the CPU.
pub(super) fn with_values<R>(x: &Tensor, read: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    match storage.deref() {
        Storage::Cpu(storage) => read(values(storage, layout)?),
        _ => bail!("a fast path was given a tensor of another device"),
    }
}

/// The last dimension.
pub(super) fn row_length(layout: &Layout) -> Result<usize> {
    let [.., length] = *layout.dims() else { bail!("rows have a length") };
    Ok(length)
}

/// `count` zeros, in large pages.
pub(super) fn zeros(count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    prefer_large_pages(&mut values);
    values
}

/// An operator's result of `shape`: rows of `row` values each, which `fill(index, row)` writes in
/// parallel. Scratch: none.
pub(super) fn from_rows(
    shape: impl Into<Shape>,
    row: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<(CpuStorage, Shape)> {
    let shape = shape.into();
    Ok((CpuStorage::F32(filled_rows(shape.elem_count(), row, fill)), shape))
}

/// `count` values in rows of `row` values each, which `fill(index, row)` writes in parallel.
pub(super) fn filled_rows(
    count: usize,
    row: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut values = zeros(count);
    let task_rows = (TASK_VALUES / row).max(1);
    values.par_chunks_mut(task_rows * row).enumerate().for_each(|(task, rows)| {
        for (index, row) in rows.chunks_exact_mut(row).enumerate() {
            fill(task * task_rows + index, row);
        }
    });
    values
}

/// Defines a function whose loops are compiled once for each generation of vector instructions; the
/// machine's best is chosen at each call. What it calls must be `inline(always)`, or it is compiled
/// for the oldest machine.
macro_rules! vectorised {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn with_avx512($($argument: $type),*) {
                    body($($argument),*)
                }

                #[target_feature(enable = "avx2,fma")]
                fn with_avx2($($argument: $type),*) {
                    body($($argument),*)
                }

                if $crate::engine::z_image::ops::cpu::has_avx512() {
                    // SAFETY: the machine has what the function is compiled for.
                    return unsafe { with_avx512($($argument),*) };
                }
                if $crate::engine::z_image::ops::cpu::has_avx2() {
                    // SAFETY: as above.
                    return unsafe { with_avx2($($argument),*) };
                }
            }
            body($($argument),*)
        }
    };
}
pub(super) use vectorised;

/// Whether the machine has what `vectorised!` compiles for AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// Whether the machine has AVX2 with fused multiply-add.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// The sum of `f` over `values`, in lanes that the compiler can keep in vector registers.
#[inline(always)]
pub(super) fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 64;
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f(value);
        }
    }
    let rest: f32 = rest.iter().map(|&value| f(value)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// `e^x` within two units in the last place, by Cephes' polynomial; 0 below -87, the largest power
/// of e above 88.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 1.5 * (1 << 23) as f32;
    // ln 2 in two parts: the first times a small whole number is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let clamped = x.clamp(-87.0, 88.0);
    let rounded = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN_2[1], n.mul_add(-LN_2[0], clamped));
    let tail = [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5]
        .iter()
        .fold(1.987_569_1e-4, |sum: f32, &coefficient| sum.mul_add(r, coefficient));
    let fraction = (tail * r).mul_add(r, r) + 1.0;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { fraction * power }
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        for x in (-870..=880).map(|tenths| tenths as f32 / 10.0 + 0.013).filter(|x| *x < 88.0) {
            let right = f64::from(x).exp();
            let error = (f64::from(exp(x)) - right).abs() / right;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) is off by {error:e}");
        }
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY), exp(-200.0)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn silu_is_flat_on_the_left_and_straight_on_the_right() {
        assert_eq!((silu(0.0), silu(200.0)), (0.0, 200.0));
        assert!(silu(-200.0).abs() < 1e-30);
    }

    #[test]
    fn a_sum_counts_the_values_beyond_the_last_vector() {
        let values: Vec<f32> = (1..=200).map(|value| value as f32).collect();
        assert_eq!(sum_of(&values, |value| 2.0 * value), 40_200.0);
    }
}
