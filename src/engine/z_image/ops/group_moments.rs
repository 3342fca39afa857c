//! The moments of groups of channels, of an activation that comes part by part.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::cpu::{values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::is_ours;
use super::moments::{Moments, widened};

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

    /// Counts in one more part, `x` (1, c, h, w).
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        if !is_ours(x) {
            return self.plain_add(x);
        }
        let found = x.contiguous()?.apply_op1_no_bwd(&PartMoments { groups: self.groups.len() })?;
        let found = found.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec3::<f64>()?;
        for (moments, parts) in self.groups.iter_mut().zip(found) {
            for part in parts {
                moments.join(Moments { count: part[0], mean: part[1], deviation: part[2] });
            }
        }
        Ok(())
    }

    /// Scratch: twice `x` in f32.
    fn plain_add(&mut self, x: &Tensor) -> Result<()> {
        // One name for all, so that each result goes when the next has come.
        let mut y = x.to_dtype(widened(x))?.reshape((self.groups.len(), ()))?;
        let count = y.dim(1)? as f64;
        let mean = y.mean_keepdim(1)?;
        y = y.broadcast_sub(&mean)?;
        y = y.sqr()?.sum_keepdim(1)?;
        let on_host = |column: Tensor| column.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        for (moments, (mean, deviation)) in
            self.groups.iter_mut().zip(on_host(mean)?.into_iter().zip(on_host(y)?))
        {
            moments.join(Moments { count, mean, deviation });
        }
        Ok(())
    }
}

/// The moments of each group of channels, or of parts of it: (groups, parts, 3), each the count,
/// the mean and the sum of squared deviations. They are f64 on a CPU, where a group is one part,
/// and f32 on a card.
struct PartMoments {
    groups: usize,
}

impl CustomOp1 for PartMoments {
    fn name(&self) -> &'static str {
        "part-moments"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, layout)?;
        let mut found = vec![0.0; 3 * self.groups];
        let groups = xs.par_chunks_exact(xs.len() / self.groups);
        let each = found.par_chunks_exact_mut(3).zip(groups);
        each.for_each(|(found, xs)| write_moments(found, xs));
        Ok((CpuStorage::F64(found), (self.groups, 1, 3).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::moments((x, layout), self.groups)
    }
}

vectorised! {
    /// Count, mean and sum of squared deviations of `xs`.
    fn write_moments(out: &mut [f64], xs: &[f32]) {
        let Moments { count, mean, deviation } = Moments::of(xs);
        out.copy_from_slice(&[count, mean, deviation]);
    }
}
