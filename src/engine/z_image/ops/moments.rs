//! Mean and variance: of values at hand, and of values that come part by part.

use candle_core::{D, DType, Result, Tensor};

use super::cpu::sum_of;

/// Count, mean and sum of squared deviations of some values.
#[derive(Clone, Copy)]
pub struct Moments {
    pub count: f64,
    pub mean: f64,
    pub deviation: f64,
}

impl Moments {
    /// Those of no values.
    pub const NONE: Moments = Moments { count: 0.0, mean: 0.0, deviation: 0.0 };

    /// Values summed in f32 at once: few enough to keep the rounding small and to read them twice
    /// from the first cache.
    const CHUNK: usize = 4096;

    /// By chunks, each centred on its own mean: what is left is exact enough in f32 however large
    /// the mean.
    #[inline(always)]
    pub fn of(values: &[f32]) -> Moments {
        let mut all = Moments::NONE;
        for chunk in values.chunks(Self::CHUNK) {
            let mean = sum_of(chunk, |x| x) / chunk.len() as f32;
            let deviation = sum_of(chunk, |x| (x - mean) * (x - mean));
            all.join(Moments {
                count: chunk.len() as f64,
                mean: mean.into(),
                deviation: deviation.into(),
            });
        }
        all
    }

    /// Those of several lots of values, of which each has as many, `count`, and a mean and a sum of
    /// squared deviations of its own.
    #[inline(always)]
    pub fn of_alike(count: f64, means: &[f32], deviations: &[f32]) -> Moments {
        let lots = means.len() as f64;
        let mean = means.iter().map(|&mean| f64::from(mean)).sum::<f64>() / lots;
        let between = |&of_lot: &f32| (f64::from(of_lot) - mean).powi(2);
        let between = count * means.iter().map(between).sum::<f64>();
        let within: f64 = deviations.iter().map(|&within| f64::from(within)).sum();
        Moments { count: lots * count, mean, deviation: within + between }
    }

    /// Chan's update of the moments by those of other values.
    #[inline(always)]
    pub fn join(&mut self, other: Moments) {
        let total = self.count + other.count;
        let step = other.mean - self.mean;
        self.mean += step * other.count / total;
        self.deviation += other.deviation + step * step * self.count * other.count / total;
        self.count = total;
    }

    /// What to multiply with, the mean subtracted, to get variance 1.
    #[inline(always)]
    pub fn factor(&self, eps: f64) -> f64 {
        1.0 / (self.deviation / self.count + eps).sqrt()
    }

    /// What to subtract and what to multiply with to get mean 0 and variance 1.
    #[inline(always)]
    pub fn mean_and_factor(&self, eps: f64) -> (f32, f32) {
        (self.mean as f32, self.factor(eps) as f32)
    }
}

/// Mean 0 and variance 1 over the last dimension.
pub fn standardise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}

/// The type to sum `x` in: at least f32.
pub fn widened(x: &Tensor) -> DType {
    if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// `x` (b, h, w, c) with the channels before the pixels, in a type to sum in.
pub fn wide_planes(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()?.to_dtype(widened(x))
}
