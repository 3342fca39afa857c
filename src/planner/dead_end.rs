//! What nobody has to find out again: that a render runs out of memory on every rung, as another one
//! of its kind did with as much memory a moment ago.

use super::{Plan, Planner};
use crate::ladder::{Rung, Stage};

/// What is free of a device, and what a prompt of about the same length needs, differ from one
/// render to the next by less than this part, and mean nothing.
const NOISE_DIVISOR: u64 = 100;

/// An attempt that ran out of memory as its plan had foreseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEnd {
    /// What was tried.
    pub rung: Rung,
    /// Where it ran out.
    pub stage: Stage,
    /// What it was predicted to need there, corrected.
    pub needed_bytes: u64,
    /// What it could use.
    pub budget_bytes: u64,
    /// Whose attempt it was and why there is no picture, for people.
    pub reason: String,
}

impl DeadEnd {
    /// What `plan` was to show, and has: none where the memory was predicted to do, for then another
    /// program may have held it for a moment.
    pub fn of(plan: &Plan, stage: Stage, reason: String) -> Option<DeadEnd> {
        let Plan { rung, prediction, missing_bytes } = *plan;
        let budget_bytes = prediction.peak_bytes().saturating_sub(missing_bytes);
        let needed_bytes = prediction.stage_bytes(stage);
        let end = DeadEnd { rung, stage, needed_bytes, budget_bytes, reason };
        (missing_bytes > 0).then_some(end)
    }

    /// Whether `plan` would show the same once more: the same rung with no less to do and no more
    /// memory.
    fn awaits(&self, plan: &Plan) -> bool {
        let DeadEnd { rung, stage, needed_bytes, .. } = *self;
        let needed_now = plan.prediction.stage_bytes(stage);
        let budget_now = plan.prediction.peak_bytes().saturating_sub(plan.missing_bytes);
        plan.missing_bytes > 0
            && plan.rung == rung
            && needed_now + needed_now / NOISE_DIVISOR >= needed_bytes
            && budget_now <= self.budget_bytes + self.budget_bytes / NOISE_DIVISOR
    }
}

impl Planner<'_> {
    /// Where a render ends that was never tried: the last of the `known` ones, where each of its
    /// attempts would come to one of them, down to the end of the ladder or `attempts_max`. `None`
    /// where at least one of its attempts might tell something new.
    pub fn dead_end<'d>(&self, known: &'d [DeadEnd], attempts_max: usize) -> Option<&'d DeadEnd> {
        let mut tried = Vec::new();
        let mut last = None;
        while let Some(plan) = self.next(&tried).filter(|_| tried.len() < attempts_max) {
            let end = known.iter().find(|end| end.awaits(&plan))?;
            tried.push((plan.rung, end.stage));
            last = Some(end);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::{Decode, Precision, Residency};
    use crate::planner::Prediction;

    fn rung(resident_blocks: u32) -> Rung {
        let residency = Residency::Streamed { resident_blocks };
        let (precision, decode) = (Precision::Full, Decode::Whole);
        Rung { residency, precision, decode, width: 1024, height: 1024, steps: 8 }
    }

    /// 100,000 bytes and 10,000 for each block in the decode, half of that while denoising.
    fn predict(rung: &Rung) -> Prediction {
        let Residency::Streamed { resident_blocks } = rung.residency else { unreachable!() };
        let vae_decode_bytes = 100_000 + 10_000 * u64::from(resident_blocks);
        Prediction {
            denoise_bytes: vae_decode_bytes / 2,
            vae_decode_bytes,
            ..Prediction::default()
        }
    }

    fn planner(budget_bytes: u64) -> Planner<'static> {
        let rungs = vec![rung(2), rung(1), rung(0)];
        Planner { rungs, budget_bytes: Some(budget_bytes), predict: Box::new(predict) }
    }

    /// What is known once a render was tried with so much memory, and ran out of it each time.
    fn known(budget_bytes: u64, stage: Stage) -> Vec<DeadEnd> {
        let (planner, mut tried, mut ends) = (planner(budget_bytes), Vec::new(), Vec::new());
        while let Some(plan) = planner.next(&tried) {
            ends.extend(DeadEnd::of(&plan, stage, "3.1 did".to_owned()));
            tried.push((plan.rung, stage));
        }
        ends
    }

    fn is_known(budget_bytes: u64, known: &[DeadEnd]) -> bool {
        planner(budget_bytes).dead_end(known, 20).is_some()
    }

    #[test]
    fn what_ran_out_on_every_rung_is_not_tried_again_with_as_much_memory() {
        let known = known(90_000, Stage::VaeDecode);
        assert_eq!(known.len(), 1, "only the rung that needs least is tried");
        let end = planner(90_000).dead_end(&known, 20).expect("the same");
        assert_eq!((end.rung, end.reason.as_str()), (rung(0), "3.1 did"));
        assert!(is_known(80_000, &known), "less");
        assert!(is_known(90_900, &known), "what is free is never quite the same");
        assert!(!is_known(91_000, &known), "there is more");
        assert!(!is_known(110_000, &known), "it is predicted to fit");
        assert!(!is_known(90_000, &[]));
    }

    #[test]
    fn a_rung_that_nobody_has_tried_is_tried() {
        let known = known(90_000, Stage::VaeDecode);
        let less = |rung: &Rung| match predict(rung) {
            all if rung.steps == 4 => Prediction { vae_decode_bytes: 95_000, ..all },
            all => all,
        };
        let mut planner = planner(90_000);
        planner.predict = Box::new(less);
        planner.rungs.push(Rung { steps: 4, ..rung(0) });
        assert_eq!(planner.dead_end(&known, 20), None, "of a render that may be made otherwise");
    }

    #[test]
    fn a_render_that_needs_less_is_tried() {
        let known = known(90_000, Stage::VaeDecode);
        let with = |less: u64| {
            let mut planner = planner(90_000);
            planner.predict = Box::new(move |rung: &Rung| {
                let all = predict(rung);
                Prediction { vae_decode_bytes: all.vae_decode_bytes - less, ..all }
            });
            planner.dead_end(&known, 20).is_some()
        };
        assert!(with(900), "a prompt of other words");
        assert!(!with(2_000), "a short prompt, or no LoRA");
    }

    #[test]
    fn an_error_that_the_plan_had_not_foreseen_is_no_dead_end() {
        assert_eq!(known(100_000, Stage::VaeDecode), [], "it was to fit");
    }

    #[test]
    fn no_more_attempts_are_thought_of_than_would_be_made() {
        let mut planner = planner(90_000);
        // Denoised with less, decoded with more.
        let odd = Rung { decode: Decode::Stripes { height: 64 }, ..rung(0) };
        planner.rungs.push(odd);
        planner.predict = Box::new(move |rung: &Rung| match rung {
            rung if *rung == odd => {
                Prediction { vae_decode_bytes: 200_000, ..Prediction::default() }
            }
            rung => predict(rung),
        });
        let known = known(90_000, Stage::Denoise);
        assert_eq!(planner.dead_end(&known, 20), None, "the second one is new");
        assert!(planner.dead_end(&known, 1).is_some());
    }
}
