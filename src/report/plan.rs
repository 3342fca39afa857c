//! What is rendered for a report: pure.

use std::path::PathBuf;

use super::data::Asked;
use super::own_queue::MeasuringJob;
use super::published::PUBLISHED_SIZES;
use crate::queue::TABLE_CARDS_GIB;

/// The picture that a session begins with, which is not counted: kernels are loaded with it.
pub const FIRST: &str = "first";

/// Sizes of a quick report, in pixels; the last one on a card only.
const QUICK_SIZES: [(u32, u32); 3] = [(512, 512), (768, 768), (1024, 1024)];

/// Pictures of a size, and of a quick report.
const REPEATS: u32 = 3;

/// A model that needs more is limited to the memory of the usual cards, and another to parts of
/// what it needs.
const LARGE_MODEL_BYTES: u64 = 6 << 30;

/// In percent of the peak.
const PARTS: [u64; 4] = [80, 60, 45, 30];
const QUICK_PARTS: [u64; 2] = [60, 30];

/// The smallest limit that a configuration takes.
const LIMIT_BYTES_MIN: u64 = 1 << 20;

/// What the user asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportQuestion {
    /// No repeats, few sizes, few limits.
    pub is_quick: bool,
    /// In pixels; the usual ones where none are named.
    pub sizes: Vec<(u32, u32)>,
    /// The model's own where `None`.
    pub steps: Option<u32>,
    pub guidance: Option<f64>,
    /// Where it is written.
    pub folder: PathBuf,
}

impl ReportQuestion {
    pub fn repeats(&self) -> u32 {
        if self.is_quick { 1 } else { REPEATS }
    }

    /// Pictures on each device that was made smaller, of which the last one counts: the first after
    /// a load takes longer, and would be compared with pictures that do not.
    pub fn limit_pictures(&self) -> u32 {
        if self.is_quick { 1 } else { 2 }
    }

    /// What is rendered on a card or on a processor.
    pub fn sizes(&self, on_card: bool) -> Vec<(u32, u32)> {
        match (self.sizes.as_slice(), self.is_quick) {
            ([], false) => PUBLISHED_SIZES.to_vec(),
            ([], true) if on_card => QUICK_SIZES.to_vec(),
            ([], true) => QUICK_SIZES[..2].to_vec(),
            (named, _) => once_each(named),
        }
    }

    /// What is left out, in sentences.
    pub fn left_out(&self) -> Vec<String> {
        if !self.is_quick {
            return Vec::new();
        }
        [
            "Quick: one picture of each of a few sizes, so that no spread is known.",
            "Quick: the model was loaded as the system's cache had its files, and the disk was not \
             measured.",
            "Quick: the device was made smaller in two steps only, and the first picture after \
             each load counts, which takes longer than later ones.",
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

fn once_each(named: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut sizes = Vec::new();
    for size in named {
        if !sizes.contains(size) {
            sizes.push(*size);
        }
    }
    sizes
}

/// A job for the pictures of one size, whose prompts are not seen before.
pub fn job(
    name: &str,
    (width, height): (u32, u32),
    &Asked { steps, guidance, .. }: &Asked,
    pictures: u32,
) -> MeasuringJob {
    let prompts = (1..=pictures)
        .map(|number| format!("a red fox in the snow, {name}, picture {number}"))
        .collect();
    MeasuringJob { name: name.to_owned(), width, height, steps, guidance, prompts }
}

/// How small the device is made, largest first, where a picture needs `peak_bytes` of it.
/// `usable_bytes` says what a card of so many GiB leaves for a render.
pub fn limits(
    is_quick: bool,
    peak_bytes: u64,
    usable_bytes: impl Fn(u64) -> Option<u64>,
) -> Vec<u64> {
    if peak_bytes > LARGE_MODEL_BYTES {
        let cards = TABLE_CARDS_GIB.into_iter().rev().filter_map(usable_bytes);
        let smaller: Vec<u64> = cards.filter(|bytes| *bytes < peak_bytes).collect();
        return match (is_quick, smaller.as_slice()) {
            (true, [first, .., last]) => vec![*first, *last],
            _ => smaller,
        };
    }
    let parts: &[u64] = if is_quick { &QUICK_PARTS } else { &PARTS };
    let of_peak = parts.iter().map(|percent| peak_bytes / 100 * percent);
    of_peak.filter(|bytes| *bytes >= LIMIT_BYTES_MIN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_model_is_limited_to_the_usual_cards_and_a_small_one_to_parts_of_its_peak() {
        let usable = |gib: u64| Some((gib << 30) - (1 << 30));
        let gib = |limits: Vec<u64>| limits.iter().map(|bytes| bytes >> 30).collect::<Vec<_>>();
        assert_eq!(gib(limits(false, 20 << 30, usable)), [15, 11, 7, 5]);
        assert_eq!(gib(limits(true, 20 << 30, usable)), [15, 5]);
        let mib = |limits: Vec<u64>| limits.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>();
        assert_eq!(mib(limits(false, 100 << 20, usable)), [80, 60, 45, 30]);
        assert_eq!(mib(limits(true, 2 << 20, usable)), [1], "no limit is below what can be said");
    }

    #[test]
    fn a_quick_report_says_what_it_leaves_out() {
        let quick = ReportQuestion { is_quick: true, ..ReportQuestion::default() };
        assert_eq!((quick.repeats(), quick.left_out().len()), (1, 3));
        assert_eq!((quick.sizes(false).len(), quick.sizes(true).len()), (2, 3));
        let whole = ReportQuestion::default();
        assert!(whole.left_out().is_empty() && whole.sizes(false) == PUBLISHED_SIZES);
        let named = ReportQuestion { sizes: vec![(64, 128), (64, 128)], ..quick };
        assert_eq!(named.sizes(true), [(64, 128)]);
    }
}
