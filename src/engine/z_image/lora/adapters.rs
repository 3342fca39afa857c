//! The LoRAs that a transformer is used with, found by the modules that they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Module as _, Result, Tensor};

use super::adapter::{Adapter, Decomposed, Delta, Magnitude};
use super::load::LoadedLora;
use crate::engine::z_image::linear::{Linear, Rounded};
use crate::job::lora::LoraSize;

/// The adapters of the modules in one group, by their names in it, each with its weight.
type Group = BTreeMap<String, Vec<(Arc<Adapter>, f64)>>;

/// Several LoRAs together; none of them by default.
#[derive(Default)]
pub struct Adapters {
    loras: Vec<(Arc<LoadedLora>, f64)>,
    by_group: BTreeMap<String, Group>,
}

/// What changes the modules of one group, if anything does.
#[derive(Clone, Copy, Default)]
pub struct Beside<'a>(Option<&'a Group>);

impl Adapters {
    /// `loras` with their weights. One that weighs nothing is not applied.
    pub fn new(loras: Vec<(Arc<LoadedLora>, f64)>) -> Adapters {
        let mut by_group = BTreeMap::<String, Group>::new();
        for (lora, weight) in loras.iter().filter(|(_, weight)| *weight != 0.0) {
            for (module, adapter) in &lora.adapters {
                let group = by_group.entry(module.group.clone()).or_default();
                let adapters = group.entry(module.name.clone()).or_default();
                adapters.push((adapter.clone(), *weight));
            }
        }
        Adapters { loras, by_group }
    }

    /// The file with this content and its adapters, where it is one of these.
    pub fn loaded(&self, sha256: &str) -> Option<Arc<LoadedLora>> {
        let mut loras = self.loras.iter().map(|(lora, _)| lora);
        loras.find(|lora| lora.sha256 == sha256).cloned()
    }

    /// Whether these are the LoRAs with these hashes and weights, in this order.
    pub fn are<'s>(&'s self, wanted: impl Iterator<Item = (&'s str, f64)>) -> bool {
        wanted.eq(self.loras.iter().map(|(lora, weight)| (lora.sha256.as_str(), *weight)))
    }

    /// What they take together.
    pub fn size(&self) -> LoraSize {
        LoraSize::of(self.loras.iter().map(|(lora, _)| lora.size))
    }

    pub fn beside(&self, group: &str) -> Beside<'_> {
        Beside(self.by_group.get(group))
    }

    /// As [`Adapters::beside`], for block `index` of a stack.
    pub fn beside_block(&self, stack: &str, index: usize) -> Beside<'_> {
        match self.by_group.is_empty() {
            true => Beside(None),
            false => self.beside(&format!("{stack}.{index}")),
        }
    }
}

/// A module, by its name in its group.
pub type Named<'a> = (&'a str, &'a Linear);

/// What several modules of a group multiply.
pub struct Multiplied<'a> {
    beside: Beside<'a>,
    x: &'a Tensor,
    by: &'a [Named<'a>],
    rounded: Rounded,
}

impl<'a> Beside<'a> {
    /// `x`, which all modules of `by` multiply.
    pub fn multiplied(self, x: &'a Tensor, by: &'a [Named<'a>]) -> Multiplied<'a> {
        Multiplied { beside: self, x, by, rounded: Rounded::default() }
    }

    /// What `linear`, the module of this name in the group, gives for `x`, with all changes.
    pub fn forward(self, name: &str, linear: &Linear, x: &Tensor) -> Result<Tensor> {
        self.changed((name, linear), &[(name, linear)], x, linear.forward(x)?)
    }

    /// `y`, what `linear` gives for `x` as the modules `by` do, with all changes.
    fn changed(
        self,
        (name, linear): Named,
        by: &[Named],
        x: &Tensor,
        mut y: Tensor,
    ) -> Result<Tensor> {
        let Some(adapters) = self.0.and_then(|group| group.get(name)) else { return Ok(y) };
        // A DoRA needs what the module gives by itself; else that is not kept.
        let needs_own = adapters.iter().any(|(adapter, _)| adapter.magnitude.is_some());
        let own = needs_own.then(|| y.clone());
        for (adapter, weight) in adapters {
            let decomposed = adapter.magnitude.as_deref().zip(own.as_ref());
            let decomposed = decomposed.map(|(magnitude, own)| Decomposed {
                magnitude,
                linear,
                own,
                parts: self.parts(magnitude, by),
            });
            y = adapter.add(x, decomposed, y, *weight)?;
        }
        Ok(y)
    }

    /// The modules among `by` whose matrices have this magnitude together.
    fn parts<'b>(self, magnitude: &Magnitude, by: &[Named<'b>]) -> Vec<(&'b Delta, &'b Linear)>
    where
        'a: 'b,
    {
        let part = |(name, linear): &Named<'b>| {
            let mut adapters = self.0?.get(*name)?.iter().map(|(adapter, _)| adapter);
            let of_magnitude = |adapter: &&Arc<Adapter>| {
                adapter.magnitude.as_deref().is_some_and(|its| std::ptr::eq(its, magnitude))
            };
            Some((adapters.find(of_magnitude)?.delta.as_ref()?, *linear))
        };
        by.iter().filter_map(part).collect()
    }
}

impl Multiplied<'_> {
    /// What the module at this place gives, with all changes.
    pub fn forward(&mut self, nth: usize) -> Result<Tensor> {
        let (name, linear) = self.by[nth];
        let y = linear.forward_rounded(self.x, &mut self.rounded)?;
        self.beside.changed((name, linear), self.by, self.x, y)
    }
}
