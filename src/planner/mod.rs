//! The planner: which rung fits the device's memory, and which one comes after an out-of-memory
//! error. Pure.
//!
//! What a render needs on a rung is an engine's to predict; here predictions are compared with what
//! there is, and corrected by what was measured.

mod agenda;
mod correct;
mod dead_end;
mod estimate;
mod model_turns;

use serde::{Deserialize, Serialize};

pub use self::agenda::{AgendaEntry, Turn, turns};
pub use self::correct::{Corrections, Evidence, WRITING_BYTES_PER_PIXEL};
pub use self::dead_end::DeadEnd;
pub use self::estimate::{DeviceSpeed, Estimate, Operations, RenderOperations};
pub use self::model_turns::{ModelHead, ModelTurns};
use crate::ladder::{Residency, Rung, Stage};

/// Device memory in use at the most while a render runs, by stage, the weights included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Prediction {
    /// Weights that are there all the time.
    pub weights_bytes: u64,
    /// While the text is encoded.
    pub text_encode_bytes: u64,
    /// While the picture is denoised.
    pub denoise_bytes: u64,
    /// While the picture is decoded.
    pub vae_decode_bytes: u64,
}

impl Prediction {
    /// The most of all stages.
    pub fn peak_bytes(&self) -> u64 {
        self.text_encode_bytes.max(self.denoise_bytes).max(self.vae_decode_bytes)
    }

    /// The most in `stage`.
    pub fn stage_bytes(&self, stage: Stage) -> u64 {
        match stage {
            Stage::Load => self.weights_bytes,
            Stage::TextEncode => self.text_encode_bytes,
            Stage::Denoise => self.denoise_bytes,
            Stage::VaeDecode => self.vae_decode_bytes,
            Stage::PictureEncode => 0,
        }
    }
}

/// The least memory that is left free where the user does not say how much: for the device's own
/// needs, and for predictions that are a little low.
const RESERVE_BYTES_MIN: u64 = 512 << 20;

/// The host is used only if every rung on the device lacks more than this part of the budget. Less
/// may be an error of the prediction, and the host takes hours for a picture.
const NEAR_MISS_DIVISOR: u64 = 10;

/// How much of a device's memory the user allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Render as if the device had no more than this.
    pub limit_bytes: Option<u64>,
    /// Left to others; unless it is said a twentieth of the device, at least 512 MiB.
    pub reserve_bytes: Option<u64>,
}

impl Allowance {
    /// What a render may use of a device of `total_bytes`, where `available_bytes` are free or its
    /// own already: all but the reserve, up to the limit. `None` where nobody knows.
    pub fn budget_bytes(self, available_bytes: Option<u64>, total_bytes: u64) -> Option<u64> {
        let reserve_bytes = self.reserve_bytes.unwrap_or(RESERVE_BYTES_MIN.max(total_bytes / 20));
        let usable_bytes = available_bytes.map(|bytes| bytes.saturating_sub(reserve_bytes));
        usable_bytes.into_iter().chain(self.limit_bytes).min()
    }
}

/// What the planner answers for a render: a rung, and whether it is predicted to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub rung: Rung,
    /// Corrected.
    pub prediction: Prediction,
    /// How much the rung is predicted to lack; 0 where it fits.
    pub missing_bytes: u64,
}

/// Plans one render.
pub struct Planner<'a> {
    /// All its rungs, gentlest first: [`crate::ladder::rungs`].
    pub rungs: Vec<Rung>,
    /// What the render may use in all, weights included; `None` where nobody knows.
    pub budget_bytes: Option<u64>,
    /// What a rung needs, corrected.
    pub predict: Box<dyn Fn(&Rung) -> Prediction + 'a>,
}

impl Planner<'_> {
    /// The plan of a first attempt; `None` where there are no rungs.
    pub fn first(&self) -> Option<Plan> {
        self.next(&[])
    }

    /// The plan of the attempt after `tried` ran out of memory, oldest first, each rung with the
    /// stage in which it did. `None` at the bottom of the ladder.
    ///
    /// 1. At first every rung is allowed.
    /// 2. The first failure is answered with the same rung once more, if it should still fit:
    ///    another program may have held the card for a moment.
    /// 3. From then on a rung is allowed if it needs less than each failed one in the stage where
    ///    that failed, or asks for fewer steps than all of them. So no rung comes twice, and the
    ///    ladder ends.
    pub fn next(&self, tried: &[(Rung, Stage)]) -> Option<Plan> {
        match tried {
            [] => self.best(|_| true),
            [(rung, _)] if self.plan(*rung).missing_bytes == 0 => Some(self.plan(*rung)),
            tried => self.below(tried),
        }
    }

    /// Rule 3 of [`Planner::next`].
    fn below(&self, tried: &[(Rung, Stage)]) -> Option<Plan> {
        let steps_min = tried.iter().map(|(rung, _)| rung.steps).min().unwrap_or(0);
        let limits: Vec<(Stage, u64)> = tried
            .iter()
            .map(|(rung, stage)| (*stage, (self.predict)(rung).stage_bytes(*stage)))
            .collect();
        self.best(|plan| {
            let needs = |stage| plan.prediction.stage_bytes(stage);
            plan.rung.steps < steps_min
                || limits.iter().all(|(stage, limit)| needs(*stage) < *limit)
        })
    }

    /// The gentlest rung of those `allowed` that is predicted to fit. Where none is, the one that
    /// lacks least, for a prediction can err; or the host, where they all lack much.
    fn best(&self, allowed: impl Fn(&Plan) -> bool) -> Option<Plan> {
        let mut least: Option<Plan> = None;
        let mut host: Option<Plan> = None;
        for plan in self.rungs.iter().map(|rung| self.plan(*rung)).filter(allowed) {
            if plan.rung.residency == Residency::Host {
                host = Some(plan);
            } else if plan.missing_bytes == 0 {
                return Some(plan);
            } else if least.is_none_or(|least| plan.missing_bytes < least.missing_bytes) {
                least = Some(plan);
            }
        }
        least.filter(|least| host.is_none() || self.is_near_miss(least)).or(host)
    }

    fn is_near_miss(&self, plan: &Plan) -> bool {
        let nearly_all = |budget_bytes| plan.missing_bytes <= budget_bytes / NEAR_MISS_DIVISOR;
        self.budget_bytes.is_none_or(nearly_all)
    }

    /// The plan for `rung`, whether or not it fits.
    pub fn plan(&self, rung: Rung) -> Plan {
        let prediction = (self.predict)(&rung);
        let missing_bytes = match self.budget_bytes {
            Some(budget_bytes) => prediction.peak_bytes().saturating_sub(budget_bytes),
            None => 0,
        };
        Plan { rung, prediction, missing_bytes }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::{OnOom, Render};
    use crate::ladder::rungs::tests::{capabilities, render};
    use crate::ladder::{Capabilities, Decode, Precision, Prefer, rungs};

    const MIB: u64 = 1 << 20;

    /// A model in round figures: 8 GiB of blocks, 8 of text encoder, a decode of 6 GiB at
    /// 1024x1024.
    fn predict(rung: &Rung) -> Prediction {
        let blocks = match rung.residency {
            Residency::Device | Residency::TextReleased => 30,
            Residency::Streamed { resident_blocks } => u64::from(resident_blocks) + 2,
            Residency::Host => return Prediction::default(),
        };
        let block = match rung.precision {
            Precision::Full => 256 * MIB,
            Precision::Int8 => 128 * MIB,
            Precision::Q8 => 136 * MIB,
            Precision::Q4 => 72 * MIB,
        };
        let text = if rung.residency == Residency::Device { 8192 * MIB } else { 0 };
        let weights_bytes = blocks * block + text;
        let pixels = u64::from(rung.width) * u64::from(rung.height);
        let decoded = match rung.decode {
            Decode::Whole => pixels,
            Decode::Stripes { height } => u64::from(rung.width) * u64::from(height) + pixels / 8,
            Decode::Tiles { side } => u64::from(side) * u64::from(side) + pixels / 20,
        };
        Prediction {
            weights_bytes,
            text_encode_bytes: weights_bytes + 200 * MIB,
            denoise_bytes: weights_bytes + pixels * 700,
            vae_decode_bytes: weights_bytes + decoded * 6144,
        }
    }

    fn planner(render: &Render, prefer: Prefer, budget_mib: u64) -> Planner<'static> {
        planner_of(render, prefer, &capabilities(), budget_mib)
    }

    fn planner_of(
        render: &Render,
        prefer: Prefer,
        capabilities: &Capabilities,
        budget_mib: u64,
    ) -> Planner<'static> {
        let rungs = rungs(render, prefer, capabilities);
        Planner { rungs, budget_bytes: Some(budget_mib * MIB), predict: Box::new(predict) }
    }

    fn planned(budget_mib: u64, prefer: Prefer) -> String {
        planner(&render(1024, 1024, 8), prefer, budget_mib).first().unwrap().rung.to_string()
    }

    #[test]
    fn a_large_card_gives_nothing_up_and_smaller_ones_give_up_time_first() {
        let quality = |budget_mib| planned(budget_mib, Prefer::Quality);
        assert_eq!(quality(24_000), "device/full/whole 1024x1024 8 steps");
        assert_eq!(quality(18_000), "device/full/stripes128 1024x1024 8 steps");
        assert_eq!(quality(15_000), "text-released/full/whole 1024x1024 8 steps");
        assert_eq!(quality(11_000), "text-released/full/stripes256 1024x1024 8 steps");
        assert_eq!(quality(5_600), "streamed15/full/stripes64 1024x1024 8 steps");
        assert_eq!(quality(5_500), "streamed6/full/stripes256 1024x1024 8 steps");
        assert_eq!(quality(1_700), "streamed0/full/stripes64 1024x1024 8 steps");
    }

    #[test]
    fn speed_takes_tiles_and_lower_precision_before_it_streams() {
        assert_eq!(
            planned(5_500, Prefer::Speed),
            "text-released/int8/stripes128 1024x1024 8 steps"
        );
        assert_eq!(planned(8_600, Prefer::Speed), "text-released/full/tiles256 1024x1024 8 steps");
    }

    #[test]
    fn a_limit_leaves_the_reserve_of_the_device_alone() {
        let card = |limit_bytes, reserve_bytes| {
            Allowance { limit_bytes, reserve_bytes }
                .budget_bytes(Some(7_800 * MIB), 8_000 * MIB)
                .map(|bytes| bytes / MIB)
        };
        assert_eq!(card(None, None), Some(7_288));
        assert_eq!(card(Some(8_000 * MIB), None), Some(7_288));
        assert_eq!(card(Some(8_000 * MIB), Some(0)), Some(7_800));
        assert_eq!(card(Some(6_000 * MIB), None), Some(6_000));
        let unknown =
            |limit_bytes| Allowance { limit_bytes, reserve_bytes: None }.budget_bytes(None, 0);
        assert_eq!((unknown(None), unknown(Some(MIB))), (None, Some(MIB)));
    }

    #[test]
    fn the_host_comes_after_a_real_error_or_where_much_is_missing() {
        let mut capabilities = capabilities();
        capabilities.residencies.push(Residency::Host);
        let fail = Render { on_oom: OnOom::Fail, ..render(1024, 1024, 8) };
        let planner = |budget_mib| planner_of(&fail, Prefer::Quality, &capabilities, budget_mib);
        let least = "streamed0/full/stripes64 1024x1024 8 steps";
        // It needs 1664 MiB.
        assert_eq!(planner(1_700).first().unwrap().rung.to_string(), least);
        let near = planner(1_600).first().unwrap();
        assert_eq!((near.rung.to_string().as_str(), near.missing_bytes > 0), (least, true));
        assert_eq!(planner(1_400).first().unwrap().rung.residency, Residency::Host);
        let after_it = planner(1_600).next(&[(near.rung, Stage::VaeDecode)]).unwrap();
        assert_eq!(after_it.rung.residency, Residency::Host);
        assert_eq!(
            planner(1_600)
                .next(&[(near.rung, Stage::VaeDecode), (after_it.rung, Stage::VaeDecode)]),
            None
        );
    }

    #[test]
    fn what_fits_nowhere_is_tried_where_it_needs_least() {
        let plan = planner(&render(1024, 1024, 8), Prefer::Quality, 100).first().unwrap();
        assert!(plan.missing_bytes > 0, "{}", plan.rung);
        assert_eq!(plan.rung.to_string(), "streamed0/full/tiles128 432x432 8 steps");
    }

    #[test]
    fn after_the_same_again_comes_what_needs_less_where_it_failed() {
        let planner = planner(&render(1024, 1024, 8), Prefer::Quality, 24_000);
        let first = planner.first().unwrap().rung;
        let decode = (first, Stage::VaeDecode);
        assert_eq!(planner.next(&[decode]).unwrap().rung, first);
        let next = planner.next(&[decode, decode]).unwrap().rung;
        assert_eq!(next.to_string(), "device/full/stripes512 1024x1024 8 steps");
        let denoise = (first, Stage::Denoise);
        let next = planner.next(&[denoise, denoise]).unwrap().rung;
        assert_eq!(next.to_string(), "text-released/full/whole 1024x1024 8 steps");
    }

    proptest! {
        #[test]
        fn more_memory_never_means_a_smaller_picture_or_fewer_steps(
            (width, height) in (16u32..=128, 16u32..=128),
            (budget_mib, more_mib) in (500u64..30_000, 0u64..10_000),
            speed in any::<bool>(),
        ) {
            let asked = render(width * 16, height * 16, 60);
            let prefer = if speed { Prefer::Speed } else { Prefer::Quality };
            let rung = |budget_mib| planner(&asked, prefer, budget_mib).first().unwrap().rung;
            let (little, more) = (rung(budget_mib), rung(budget_mib + more_mib));
            // Who prefers speed wants the smaller picture before streaming.
            prop_assume!(!speed || !matches!(little.residency, Residency::Streamed { .. }));
            prop_assert!(more.width >= little.width && more.height >= little.height, "{little}, {more}");
            prop_assert!(more.steps >= little.steps, "{little}, {more}");
        }

        #[test]
        fn the_ladder_ends_never_repeats_and_always_needs_less_where_it_failed(
            (width, height) in (16u32..=128, 16u32..=128),
            (min_side, min_steps) in (64u32..1024, 1u32..50),
            stages in prop::collection::vec(0usize..4, 1500),
            budget_mib in 500u64..30_000,
            (speed, on_oom) in (any::<bool>(), 0usize..3),
        ) {
            let on_oom = [OnOom::Fail, OnOom::Offload, OnOom::Downgrade][on_oom];
            let asked = Render { min_side, min_steps, on_oom, ..render(width * 16, height * 16, 60) };
            let prefer = if speed { Prefer::Speed } else { Prefer::Quality };
            let planner = planner(&asked, prefer, budget_mib);
            let stage = |n: usize| [Stage::Load, Stage::TextEncode, Stage::Denoise, Stage::VaeDecode][stages[n]];
            let mut tried: Vec<(Rung, Stage)> = Vec::new();
            while let Some(Plan { rung, prediction, .. }) = planner.next(&tried) {
                prop_assert!(tried.len() < stages.len(), "does not end");
                if tried.len() > 1 {
                    prop_assert!(tried.iter().all(|(before, _)| *before != rung), "repeats {rung}");
                    for (before, stage) in &tried {
                        let needs_less = prediction.stage_bytes(*stage) < predict(before).stage_bytes(*stage);
                        prop_assert!(needs_less || rung.steps < before.steps);
                    }
                }
                tried.push((rung, stage(tried.len())));
            }
        }
    }
}
