//! What a report says, as data: `report.json`, which others read back to compare machines.

use serde::{Deserialize, Serialize};

use crate::card::CardFacts;
use crate::planner::DeviceSpeed;

/// The form of `report.json`. A file of another form is not compared.
pub const FORMAT: u32 = 1;

/// One machine with one model, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MachineReport {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The program's version.
    pub zimaged: String,
    /// The program was built with optimisation; without, it is slower on a processor.
    pub is_optimised: bool,
    /// UTC, in milliseconds since the epoch.
    pub made_at_ms: i64,
    /// What was not measured, and why; one sentence each.
    pub left_out: Vec<String>,
    /// Where it was measured.
    pub machine: Machine,
    /// What rendered.
    pub model: ReportedModel,
    /// What was rendered.
    pub asked: Asked,
    /// The loads of the model without a limit, oldest first.
    pub loads: Vec<MeasuredLoad>,
    /// What files of weights came from the disk with; `None` where that was not measured.
    pub disk: Option<DiskSpeed>,
    /// What the device did in short measurements of its own; `None` where none was made.
    pub device_speed: Option<DeviceSpeed>,
    /// Seconds and memory of the pictures, a size each.
    pub sizes: Vec<MeasuredSize>,
    /// Memory by phase; `None` where no picture was made.
    pub memory: Option<MemoryPhases>,
    /// The use of memory while the sizes were rendered, oldest first.
    pub curve: Vec<MemorySample>,
    /// What of the machine the curve shows.
    pub curve_of: String,
    /// What fits on which card, and how it is rendered there.
    pub matrix: Vec<MatrixCell>,
    /// Of which model the matrix tells.
    pub matrix_model: String,
    /// The device made smaller, step by step.
    pub limits: Vec<LimitRun>,
    /// `None` where there is no counter of energy.
    pub energy: Option<MeasuredEnergy>,
    /// Which settings to use for what, in sentences that follow from the measurements.
    pub advice: Vec<String>,
}

/// Where it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// Its name, as the system has it.
    pub processor: String,
    /// How many threads the program may run at once.
    pub threads: usize,
    /// What the machine, or the control group around the program, has.
    pub memory_bytes: Option<u64>,
    /// How many threads of other programs wanted to run in the minute before.
    pub load_before: Option<f64>,
    /// The kernel's name and version.
    pub system: String,
    /// The device as the engine names it.
    pub device: String,
    /// All memory of the device.
    pub device_bytes: Option<u64>,
    /// What the card's management library says of it.
    pub card: Option<CardFacts>,
}

/// The model that rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReportedModel {
    /// As the daemon tells it.
    pub name: String,
    /// The model is the miniature in the program: its pictures say nothing of a real model's times.
    pub is_miniature: bool,
    /// Of all weights together; `None` where it was not known before the end.
    pub hash: Option<String>,
    /// Its parts, each with its files.
    pub parts: Vec<ReportedPart>,
}

/// One part of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReportedPart {
    /// `transformer`, `text encoder` or `VAE`.
    pub part: String,
    /// What its files have.
    pub bytes: u64,
    /// Of its weights; `None` where it was not known before the end.
    pub sha256: Option<String>,
    /// Where it was fetched from, where that is known.
    pub source: Option<String>,
}

/// What was rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Asked {
    /// Few sizes, one picture of each.
    pub is_quick: bool,
    /// Of each picture.
    pub steps: u32,
    /// Of each picture.
    pub guidance: f64,
    /// Pictures of each size, each with a prompt that was not seen before.
    pub repeats: u32,
}

/// One load of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeasuredLoad {
    /// The weights had been dropped from the system's cache before.
    pub is_cold: bool,
    /// Until the model was ready.
    pub load_ms: u64,
    /// What the files of weights have.
    pub weights_bytes: u64,
    /// The first picture after it.
    pub first_picture_ms: Option<u64>,
    /// What the weights took, by part; the rest is opening the device, and measuring its speed
    /// where it never was.
    pub parts: Vec<LoadedPart>,
}

/// One part of the model in a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoadedPart {
    /// As in [`ReportedPart`].
    pub part: String,
    /// Until it was loaded.
    pub load_ms: u64,
    /// What its files have.
    pub bytes: u64,
}

/// How fast the largest file of weights is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DiskSpeed {
    /// How much of it was read.
    pub bytes: u64,
    /// From the disk itself.
    pub cold_bytes_per_s: f64,
    /// Once more, from the system's cache.
    pub warm_bytes_per_s: f64,
}

/// The middle of several times, and how far they lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Spread {
    /// The middle.
    pub median_ms: f64,
    /// The shortest.
    pub min_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// All pictures of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeasuredSize {
    /// Asked for, in pixels.
    pub width: u32,
    /// Asked for, in pixels.
    pub height: u32,
    /// Pictures that were made; none where all have failed.
    pub pictures: u32,
    /// Until the device was free again.
    pub total: Spread,
    /// The reading of the prompt.
    pub text_encode: Spread,
    /// All steps together.
    pub denoise: Spread,
    /// From latents to pixels.
    pub vae_decode: Spread,
    /// The writing of the picture's file, beside the next picture.
    pub picture_encode: Spread,
    /// How they were made.
    pub rung: String,
    /// Smaller, or with fewer steps, than asked.
    pub is_degraded: bool,
    /// The most of all pictures.
    pub peak_bytes: u64,
    /// What the plan expected at the most.
    pub predicted_bytes: Option<u64>,
    /// Where the weights are placed, and the device is measured as before: after the picture.
    pub after_bytes: u64,
    /// Why pictures were not made.
    pub failures: Vec<String>,
}

/// The device's memory by phase, as the engine counts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemoryPhases {
    /// The picture of which the peaks are.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// After the load, before any picture.
    pub idle_bytes: u64,
    /// The most while the first picture was made.
    pub first_peak_bytes: u64,
    /// What the plan expected at the most.
    pub predicted_bytes: Option<u64>,
    /// After the picture.
    pub after_bytes: u64,
    /// `None` where no second picture of the size was made.
    pub second_peak_bytes: Option<u64>,
}

/// The use of memory at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemorySample {
    /// Since the first sample.
    pub at_ms: u64,
    /// In use then.
    pub used_bytes: u64,
}

/// One size on one card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MatrixCell {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// All memory of the card.
    pub device_bytes: u64,
    /// The card is the device that was measured.
    pub is_this_device: bool,
    /// There is a rung for it, if a smaller one.
    pub fits: bool,
    /// Smaller, or with fewer steps, than asked.
    pub is_degraded: bool,
    /// How it is rendered; with the size where that is less than asked.
    pub rung: String,
    /// What it is expected to need at the most.
    pub predicted_bytes: u64,
    /// On this machine's device, on the same rung.
    pub seconds: Option<f64>,
    /// The seconds are measured, and not estimated.
    pub is_measured: bool,
    /// What the published report says of a card of this size.
    pub published: Option<String>,
}

/// Pictures where the device was to be smaller than it is, of which the last one counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LimitRun {
    /// What the device was to have.
    pub limit_bytes: u64,
    /// Asked for.
    pub width: u32,
    /// Asked for.
    pub height: u32,
    /// How the picture was made.
    pub rung: String,
    /// Smaller, or with fewer steps, than asked.
    pub is_degraded: bool,
    /// The picture that was made; 0 where none was.
    pub total_ms: u64,
    /// How long the model was loaded, with so little memory.
    pub load_ms: u64,
    /// What attempts took that ran out of memory.
    pub lost_ms: u64,
    /// The most that it needed.
    pub peak_bytes: u64,
    /// Why there is no picture.
    pub failure: Option<String>,
}

/// What pictures cost in energy, by the card's own counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeasuredEnergy {
    /// A size each.
    pub pictures: Vec<PictureEnergy>,
    /// While the model was loaded and nothing was rendered.
    pub idle_watts: Option<f64>,
    /// The most that was seen.
    pub power_max_watts: f64,
    /// The highest that was seen.
    pub temperature_max_celsius: u32,
    /// Why the card ran slower than it could, in words; none where it did not.
    pub slowed_by: Vec<String>,
}

/// The energy of one picture of a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PictureEnergy {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Of one picture.
    pub joules: f64,
}

impl Spread {
    /// Of all these times; `None` where there are none.
    pub fn of(times_ms: impl IntoIterator<Item = i64>) -> Option<Spread> {
        let mut times: Vec<f64> = times_ms.into_iter().map(|ms| ms.max(0) as f64).collect();
        times.sort_by(f64::total_cmp);
        let (low, high) =
            (times.get(times.len().saturating_sub(1) / 2)?, times.get(times.len() / 2)?);
        let median_ms = (low + high) / 2.0;
        Some(Spread { median_ms, min_ms: *times.first()?, max_ms: *times.last()? })
    }
}

impl MachineReport {
    /// The size that most of the report speaks of: 1024x1024 where it was made, else the largest.
    pub fn main_size(&self) -> Option<&MeasuredSize> {
        let made = || self.sizes.iter().filter(|size| size.pictures > 0);
        let usual = made().find(|size| (size.width, size.height) == (1024, 1024));
        usual.or_else(|| made().max_by_key(|size| u64::from(size.width) * u64::from(size.height)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_of_its_times() {
        let odd = Spread::of([30, 10, 20]).expect("times");
        assert_eq!((odd.median_ms, odd.min_ms, odd.max_ms), (20.0, 10.0, 30.0));
        assert_eq!(Spread::of([10, 20, 30, 80]).map(|even| even.median_ms), Some(25.0));
        assert_eq!(Spread::of([]), None);
    }
}
