//! The product of a job's axes: counted before it is made.

use crate::table::{Check, Mistake};

/// Every axis of the product, none of them empty.
pub(super) struct Combinations {
    pub(super) prompts: Vec<String>,
    pub(super) negative_prompts: Vec<String>,
    pub(super) sizes: Sizes,
    pub(super) steps: Vec<u32>,
    pub(super) guidances: Vec<f64>,
    /// `None` is a seed to be drawn.
    pub(super) seeds: Vec<Option<u64>>,
}

pub(super) enum Sizes {
    /// (width, height)
    Listed(Vec<(u32, u32)>),
    /// Every width with every height: not multiplied out, for that may be a billion.
    Crossed { widths: Vec<u32>, heights: Vec<u32> },
}

/// One point of the product.
pub(super) struct Combination<'a> {
    pub(super) prompt: &'a str,
    pub(super) negative_prompt: &'a str,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) steps: u32,
    pub(super) guidance: f64,
    pub(super) seed: Option<u64>,
}

impl Combinations {
    /// How many there are; `usize::MAX` stands for more than that.
    pub(super) fn count(&self) -> usize {
        self.lengths().into_iter().fold(1, |product, (_, length)| product.saturating_mul(length))
    }

    /// Whether the renders, `num_images` for each combination, are at most `renders_max`.
    pub(super) fn check_count(&self, num_images: u32, renders_max: u32) -> Check<()> {
        let renders = self.count().saturating_mul(num_images as usize);
        if renders <= renders_max as usize {
            return Ok(());
        }
        let factors: Vec<String> = (self.lengths().into_iter())
            .chain([("num_images", num_images as usize)])
            .filter(|(_, length)| *length > 1)
            .map(|(key, length)| format!("{length} {key}"))
            .collect();
        let message = format!("{} make {renders} pictures", factors.join(" x "));
        Err(Mistake::new(message).help(format!("at most {renders_max} in one job: split it")))
    }

    /// The prompt changes slowest, the seed fastest.
    pub(super) fn iter(&self) -> impl Iterator<Item = Combination<'_>> {
        (0..self.count()).map(|index| self.at(index))
    }

    fn at(&self, index: usize) -> Combination<'_> {
        let mut rest = index;
        let seed = self.seeds[digit(&mut rest, self.seeds.len())];
        let guidance = self.guidances[digit(&mut rest, self.guidances.len())];
        let steps = self.steps[digit(&mut rest, self.steps.len())];
        let (width, height) = self.sizes.take(&mut rest);
        let negative_prompt = &self.negative_prompts[digit(&mut rest, self.negative_prompts.len())];
        let prompt = &self.prompts[digit(&mut rest, self.prompts.len())];
        Combination { prompt, negative_prompt, width, height, steps, guidance, seed }
    }

    fn lengths(&self) -> [(&'static str, usize); 7] {
        let [first_side, second_side] = self.sizes.lengths();
        [
            ("prompt", self.prompts.len()),
            ("negative_prompt", self.negative_prompts.len()),
            first_side,
            second_side,
            ("steps", self.steps.len()),
            ("guidance", self.guidances.len()),
            ("seed", self.seeds.len()),
        ]
    }
}

impl Sizes {
    fn lengths(&self) -> [(&'static str, usize); 2] {
        match self {
            Sizes::Listed(sizes) => [("size", sizes.len()), ("size", 1)],
            Sizes::Crossed { widths, heights } => {
                [("width", widths.len()), ("height", heights.len())]
            }
        }
    }

    fn take(&self, rest: &mut usize) -> (u32, u32) {
        match self {
            Sizes::Listed(sizes) => sizes[digit(rest, sizes.len())],
            Sizes::Crossed { widths, heights } => {
                let height = heights[digit(rest, heights.len())];
                (widths[digit(rest, widths.len())], height)
            }
        }
    }
}

/// Takes the last digit, of the given base, off a number.
fn digit(rest: &mut usize, base: usize) -> usize {
    let digit = *rest % base;
    *rest /= base;
    digit
}
