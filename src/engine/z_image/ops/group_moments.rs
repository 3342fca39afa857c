//! The moments of groups of channels, of an activation that comes part by part.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::cpu::{values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::has_our_channels;
use super::moments::{Moments, wide_planes};

/// GroupNorm's statistics of an activation that is at hand only part by part: the moments of each
/// group of channels.
pub struct GroupMoments {
    pub groups: Vec<Moments>,
}

impl GroupMoments {
    /// Those of nothing yet, in `groups` groups.
    pub fn new(groups: usize) -> GroupMoments {
        GroupMoments { groups: vec![Moments::NONE; groups] }
    }

    /// Counts in one more part, `x` (1, h, w, c).
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        if !has_our_channels(x) {
            return self.plain_add(x);
        }
        let found = x.contiguous()?.apply_op1_no_bwd(&PartMoments { groups: self.groups.len() })?;
        let found = found.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        for (moments, found) in self.groups.iter_mut().zip(found) {
            moments.join(Moments { count: found[0], mean: found[1], deviation: found[2] });
        }
        Ok(())
    }

    fn plain_add(&mut self, x: &Tensor) -> Result<()> {
        let groups = wide_planes(x)?.reshape((self.groups.len(), ()))?;
        let count = groups.dim(1)? as f64;
        let mean = groups.mean_keepdim(1)?;
        let deviation = groups.broadcast_sub(&mean)?.sqr()?.sum_keepdim(1)?;
        let on_host = |column: Tensor| column.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        for (moments, (mean, deviation)) in
            self.groups.iter_mut().zip(on_host(mean)?.into_iter().zip(on_host(deviation)?))
        {
            moments.join(Moments { count, mean, deviation });
        }
        Ok(())
    }
}

/// The moments of each group of channels: (groups, 3), each the count, the mean and the sum of
/// squared deviations. They are f64 on a CPU, and f32 on a card.
struct PartMoments {
    groups: usize,
}

impl CustomOp1 for PartMoments {
    fn name(&self) -> &'static str {
        "part-moments"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, _, _, channels) = layout.shape().dims4()?;
        let found = moments_of(values(x, layout)?, channels, self.groups);
        let numbers = found.iter().flat_map(|group| [group.count, group.mean, group.deviation]);
        Ok((CpuStorage::F64(numbers.collect()), (self.groups, 3).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::moments((x, layout), self.groups)
    }
}

/// Values that one parallel task reads. The tasks do not depend on how many threads there are, so
/// that neither does the rounding.
const TASK_VALUES: usize = 256 * 1024;

/// Pixels that are summed in f32 at once: few enough to keep the rounding small and to read them
/// twice from the first cache.
const CHUNK_PIXELS: usize = 32;

/// The moments of each of `groups` groups of `channels` of `xs` (pixels, channels).
pub(super) fn moments_of(xs: &[f32], channels: usize, groups: usize) -> Vec<Moments> {
    let task_pixels = (TASK_VALUES / channels).max(1);
    let of_task = |xs: &[f32]| {
        let mut found = vec![Moments::NONE; groups];
        let mut scratch = [vec![0.0; channels], vec![0.0; channels]];
        add_pixels(&mut found, xs, &mut scratch);
        found
    };
    let found: Vec<Vec<Moments>> = xs.par_chunks(task_pixels * channels).map(of_task).collect();
    let mut all = vec![Moments::NONE; groups];
    for of_task in found {
        all.iter_mut().zip(of_task).for_each(|(all, found)| all.join(found));
    }
    all
}

vectorised! {
    /// Counts in some pixels, chunk by chunk, each channel centred on its own mean there: what is
    /// left is exact enough in f32 however large the mean. `scratch` has a value for each channel.
    fn add_pixels(groups: &mut [Moments], xs: &[f32], scratch: &mut [Vec<f32>; 2]) {
        let [means, deviations] = scratch;
        let channels = means.len();
        for chunk in xs.chunks(CHUNK_PIXELS * channels) {
            let pixels = (chunk.len() / channels) as f32;
            means.fill(0.0);
            deviations.fill(0.0);
            for pixel in chunk.chunks_exact(channels) {
                means.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
            }
            means.iter_mut().for_each(|sum| *sum /= pixels);
            for pixel in chunk.chunks_exact(channels) {
                let each = deviations.iter_mut().zip(&*means).zip(pixel);
                each.for_each(|((sum, mean), x)| *sum += (x - mean) * (x - mean));
            }
            let members = channels / groups.len();
            let each = means.chunks_exact(members).zip(deviations.chunks_exact(members));
            for (group, (means, deviations)) in groups.iter_mut().zip(each) {
                group.join(Moments::of_alike(pixels.into(), means, deviations));
            }
        }
    }
}
