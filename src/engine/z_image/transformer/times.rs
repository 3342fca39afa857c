//! What the times of a schedule make of the transformer's weights. It depends on nothing else, so
//! that it is made once for a denoising and not in each step.

use std::cell::RefCell;

use candle_core::{Result, Tensor};

use super::block::Norms;
use crate::engine::Backend;
use crate::engine::z_image::config::TransformerConfig;

/// The times of all steps of a schedule.
pub struct Timesteps {
    /// (steps, adaln dim).
    embeddings: Tensor,
    /// The norms of each modulated block at all steps, from when the block is first used: the
    /// weights of a streamed one are not there before.
    norms: RefCell<Vec<Option<Norms>>>,
    /// What the final layer scales by: (steps, dim).
    scales: Tensor,
}

impl Timesteps {
    /// For so many modulated blocks.
    pub fn new(embeddings: Tensor, scales: Tensor, blocks: usize) -> Timesteps {
        let norms = RefCell::new((0..blocks).map(|_| None).collect());
        Timesteps { embeddings, norms, scales }
    }

    /// The norms of block `block` at step `step`, both from 0; `make` makes them for all steps,
    /// given the embeddings.
    pub fn norms(
        &self,
        block: usize,
        step: usize,
        make: impl FnOnce(&Tensor) -> Result<Norms>,
    ) -> Result<Norms> {
        let mut all = self.norms.borrow_mut();
        if let Some(norms) = &all[block] {
            return norms.of_step(step);
        }
        all[block].insert(make(&self.embeddings)?).of_step(step)
    }

    /// What the final layer scales by at step `step` (from 0): (dim).
    pub fn scale(&self, step: usize) -> Result<Tensor> {
        self.scales.get(step)
    }
}

/// Bytes of the [`Timesteps`] of so many steps, and of what the norms of one block are made of.
pub fn times_bytes(config: &TransformerConfig, backend: Backend, steps: usize) -> usize {
    let blocks = config.n_refiner_layers + config.n_layers;
    let kept = config.adaln_dim() + config.dim + blocks * 4 * config.dim;
    // What the linear layer gives, with its bias and without, and one of four chunks of it.
    let making = (4 + 4 + 1) * config.dim;
    backend.element_bytes() * steps * (kept + making)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn tensor(values: &[f32], shape: (usize, usize)) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).expect("as many values as the shape has")
    }

    #[test]
    fn a_blocks_norms_are_made_once_for_all_steps() {
        let times = Timesteps::new(tensor(&[1.0, 2.0], (2, 1)), tensor(&[3.0, 4.0], (2, 1)), 2);
        let mut made = 0;
        for step in [0, 1, 1] {
            for block in [0, 1] {
                let make = |t: &Tensor| {
                    made += 1;
                    let weight = (t * 10.0)?;
                    Ok(Norms {
                        before_attention: weight.clone(),
                        after_attention: weight.clone(),
                        before_ffn: weight.clone(),
                        after_ffn: weight,
                    })
                };
                let norms = times.norms(block, step, make).expect("norms");
                let weight = norms.before_attention.to_vec1::<f32>().expect("a weight");
                assert_eq!(weight, [10.0 * (step + 1) as f32]);
            }
        }
        assert_eq!(made, 2);
        assert_eq!(times.scale(1).and_then(|s| s.to_vec1::<f32>()).expect("a scale"), [4.0]);
    }
}
