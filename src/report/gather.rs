//! From rows and looks to the data of a report: pure.

use super::data::{
    LimitRun, MeasuredEnergy, MeasuredSize, MemoryPhases, MemorySample, PictureEnergy, Spread,
};
use super::sampler::MachineLook;
use crate::attempt::Outcome;
use crate::card::slowed_by;
use crate::store::MeasuredAttempt;

/// The most points of a curve: more are not seen.
const CURVE_POINTS: usize = 400;

/// The attempts of the job that is called `name`.
fn of_job<'a>(
    attempts: &'a [MeasuredAttempt],
    name: &str,
) -> impl Iterator<Item = &'a MeasuredAttempt> {
    let file_name = format!("{name}.toml");
    attempts.iter().filter(move |attempt| attempt.file_name == file_name)
}

fn is_done(attempt: &&MeasuredAttempt) -> bool {
    attempt.outcome == Outcome::Done
}

/// How long the first picture of the job took.
pub fn first_picture_ms(attempts: &[MeasuredAttempt], name: &str) -> Option<u64> {
    of_job(attempts, name).find(is_done).map(|attempt| attempt.total_ms.unsigned_abs())
}

/// The pictures of the job `name`, which asks for this size; `None` where nothing was tried.
pub fn size(
    attempts: &[MeasuredAttempt],
    name: &str,
    (width, height): (u32, u32),
) -> Option<MeasuredSize> {
    let last = of_job(attempts, name).last()?;
    let done: Vec<_> = of_job(attempts, name).filter(is_done).collect();
    let spread = |time: fn(&MeasuredAttempt) -> i64| {
        Spread::of(done.iter().map(|attempt| time(attempt))).unwrap_or_default()
    };
    let most = |bytes: fn(&MeasuredAttempt) -> i64| {
        done.iter().map(|attempt| bytes(attempt).unsigned_abs()).max().unwrap_or(0)
    };
    Some(MeasuredSize {
        width,
        height,
        pictures: u32::try_from(done.len()).unwrap_or(u32::MAX),
        total: spread(|attempt| attempt.total_ms),
        text_encode: spread(|attempt| attempt.text_encode_ms),
        denoise: spread(|attempt| attempt.denoise_ms),
        vae_decode: spread(|attempt| attempt.vae_decode_ms),
        picture_encode: spread(|attempt| attempt.picture_encode_ms),
        rung: last.rung.clone(),
        is_degraded: done.iter().any(|attempt| attempt.degraded),
        peak_bytes: most(|attempt| attempt.peak_bytes),
        predicted_bytes: done.iter().filter_map(|attempt| predicted(attempt)).max(),
        after_bytes: most(|attempt| attempt.after_release_bytes),
        failures: of_job(attempts, name).filter_map(|attempt| attempt.message.clone()).collect(),
    })
}

fn predicted(attempt: &MeasuredAttempt) -> Option<u64> {
    attempt.predicted_bytes.map(i64::unsigned_abs)
}

/// The memory of the first two pictures of the job `name`, where `idle_bytes` are in use before.
pub fn phases(
    attempts: &[MeasuredAttempt],
    name: &str,
    (width, height): (u32, u32),
    idle_bytes: u64,
) -> Option<MemoryPhases> {
    let mut done = of_job(attempts, name).filter(is_done);
    let first = done.next()?;
    Some(MemoryPhases {
        width,
        height,
        idle_bytes,
        first_peak_bytes: first.peak_bytes.unsigned_abs(),
        predicted_bytes: predicted(first),
        after_bytes: first.after_release_bytes.unsigned_abs(),
        second_peak_bytes: done.next().map(|second| second.peak_bytes.unsigned_abs()),
    })
}

/// What became of the last picture of the job `name` under a limit; `error` says why its daemon
/// ended.
pub fn limit_run(
    attempts: &[MeasuredAttempt],
    name: &str,
    limit_bytes: u64,
    (width, height): (u32, u32),
    load_ms: u64,
    error: Option<String>,
) -> LimitRun {
    let last = of_job(attempts, name).last();
    let made = last.filter(is_done);
    let lost = of_job(attempts, name).filter(|attempt| attempt.outcome == Outcome::OutOfMemory);
    let why = || last.and_then(|attempt| attempt.message.clone());
    LimitRun {
        limit_bytes,
        width,
        height,
        rung: last.map(|attempt| attempt.rung.clone()).unwrap_or_default(),
        is_degraded: made.is_some_and(|attempt| attempt.degraded),
        total_ms: made.map_or(0, |attempt| attempt.total_ms.unsigned_abs()),
        // Without an attempt no worker was ready: the last one is of a session before.
        load_ms: last.map_or(0, |_| load_ms),
        lost_ms: lost.map(|attempt| attempt.total_ms.unsigned_abs()).sum(),
        peak_bytes: made.map_or(0, |attempt| attempt.peak_bytes.unsigned_abs()),
        failure: match made {
            Some(_) => None,
            None => error.or_else(why).or_else(|| Some("no picture was made".to_owned())),
        },
    }
}

/// The use of memory over time; of looks that lie together the one with most.
pub fn curve(looks: &[MachineLook]) -> Vec<MemorySample> {
    let known: Vec<(i64, u64)> =
        looks.iter().filter_map(|look| Some((look.at_ms, look.used_bytes?))).collect();
    let Some((start_ms, _)) = known.first().copied() else { return Vec::new() };
    let together = known.len().div_ceil(CURVE_POINTS).max(1);
    let most = known.chunks(together).filter_map(|looks| looks.iter().max_by_key(|look| look.1));
    most.map(|(at_ms, used_bytes)| MemorySample {
        at_ms: at_ms.abs_diff(start_ms),
        used_bytes: *used_bytes,
    })
    .collect()
}

/// What the pictures of these jobs cost; `None` where no look tells energy or power.
pub fn energy(
    attempts: &[MeasuredAttempt],
    looks: &[MachineLook],
    jobs: &[(String, (u32, u32))],
) -> Option<MeasuredEnergy> {
    let power_max_watts = looks.iter().filter_map(MachineLook::watts).max_by(f64::total_cmp)?;
    let mut idle: Vec<f64> = looks
        .iter()
        .filter(|look| look.is_loaded && !look.is_rendering)
        .filter_map(MachineLook::watts)
        .collect();
    idle.sort_by(f64::total_cmp);
    let busy = looks.iter().filter(|look| look.is_rendering);
    let slowed = busy.fold(0, |bits, look| bits | look.card.slowed.unwrap_or(0));
    let hottest = looks.iter().filter_map(|look| look.card.temperature_celsius).max();
    Some(MeasuredEnergy {
        pictures: jobs
            .iter()
            .filter_map(|(name, size)| picture_energy(attempts, looks, name, *size))
            .collect(),
        idle_watts: idle.get(idle.len() / 2).copied(),
        power_max_watts,
        temperature_max_celsius: hottest.unwrap_or(0),
        slowed_by: slowed_by(slowed),
    })
}

/// From the beginning of the first picture of the job to the end of the last one, by picture.
fn picture_energy(
    attempts: &[MeasuredAttempt],
    looks: &[MachineLook],
    name: &str,
    (width, height): (u32, u32),
) -> Option<PictureEnergy> {
    let done: Vec<_> = of_job(attempts, name).filter(is_done).collect();
    let (first, last) = (done.first()?, done.last()?);
    let joules = joules(looks, first.started_at_ms, last.started_at_ms + last.total_ms)?;
    Some(PictureEnergy { width, height, joules: joules / done.len() as f64 })
}

/// The energy between two moments: by the card's counter, else from its power.
fn joules(looks: &[MachineLook], from_ms: i64, to_ms: i64) -> Option<f64> {
    let counter = |look: &MachineLook| look.card.energy_mj.map(|mj| mj as f64 / 1000.0);
    if let (Some(before), Some(after)) = (at(looks, from_ms, counter), at(looks, to_ms, counter)) {
        return (after > before).then_some(after - before);
    }
    let powers = looks.iter().filter(|look| (from_ms..=to_ms).contains(&look.at_ms));
    let powers: Vec<f64> = powers.filter_map(MachineLook::watts).collect();
    let mean = powers.iter().sum::<f64>() / powers.len() as f64;
    (!powers.is_empty()).then(|| mean * (to_ms - from_ms) as f64 / 1000.0)
}

/// A figure at a moment, between the looks before and after it.
fn at(
    looks: &[MachineLook],
    at_ms: i64,
    figure: impl Fn(&MachineLook) -> Option<f64>,
) -> Option<f64> {
    let after = looks.iter().position(|look| look.at_ms >= at_ms)?;
    let (low, high) = (&looks[after.saturating_sub(1)], &looks[after]);
    let (low_value, high_value) = (figure(low)?, figure(high)?);
    let span_ms = (high.at_ms - low.at_ms).max(1) as f64;
    let part = ((at_ms - low.at_ms) as f64 / span_ms).clamp(0.0, 1.0);
    Some(low_value + part * (high_value - low_value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::CardReading;

    fn attempt(name: &str, outcome: Outcome, started_at_ms: i64, total_ms: i64) -> MeasuredAttempt {
        MeasuredAttempt {
            file_name: format!("{name}.toml"),
            outcome,
            rung: "device/full/whole 64x64 2 steps".to_owned(),
            width: 64,
            height: 64,
            degraded: false,
            started_at_ms,
            text_encode_ms: 1,
            denoise_ms: 2,
            vae_decode_ms: 3,
            picture_encode_ms: 4,
            total_ms,
            peak_bytes: 500 + total_ms,
            after_release_bytes: 100,
            predicted_bytes: Some(700),
            message: (outcome != Outcome::Done).then(|| "why not".to_owned()),
        }
    }

    fn look(at_ms: i64, energy_mj: Option<u64>, power_mw: u32) -> MachineLook {
        let card = CardReading { energy_mj, power_mw: Some(power_mw), ..CardReading::default() };
        let used_bytes = Some(at_ms.unsigned_abs());
        MachineLook { at_ms, used_bytes, is_loaded: true, is_rendering: power_mw > 50_000, card }
    }

    #[test]
    fn pictures_of_a_size_are_summed_up_and_failures_told() {
        use Outcome::{Done, OutOfMemory};
        let attempts = [
            attempt("a", Done, 0, 10),
            attempt("b", Done, 5, 99),
            attempt("a", OutOfMemory, 10, 7),
            attempt("a", Done, 20, 30),
        ];
        let size = size(&attempts, "a", (64, 64)).expect("pictures");
        assert_eq!((size.pictures, size.total.median_ms, size.peak_bytes), (2, 20.0, 530));
        assert_eq!(size.failures, ["why not"]);
        assert!(super::size(&attempts, "c", (64, 64)).is_none());
        let phases = phases(&attempts, "a", (64, 64), 100).expect("pictures");
        assert_eq!((phases.first_peak_bytes, phases.second_peak_bytes), (510, Some(530)));
        let run = limit_run(&attempts, "a", 1 << 20, (64, 64), 700, None);
        assert_eq!((run.total_ms, run.lost_ms, run.failure), (30, 7, None));
        let none = limit_run(&attempts, "c", 1 << 20, (64, 64), 700, Some("no load".to_owned()));
        assert_eq!((run.load_ms, none.load_ms), (700, 0), "an attempt has a worker");
        assert_eq!(none.failure.as_deref(), Some("no load"));
    }

    #[test]
    fn energy_is_the_counter_s_difference_and_else_power_over_time() {
        let looks: Vec<MachineLook> =
            (0..=10).map(|n| look(n * 100, Some(n as u64 * 20_000), 200_000)).collect();
        let attempts =
            [attempt("a", Outcome::Done, 150, 200), attempt("a", Outcome::Done, 350, 200)];
        let jobs = [("a".to_owned(), (64, 64))];
        let energy = energy(&attempts, &looks, &jobs).expect("energy");
        assert_eq!(energy.pictures[0].joules, 40.0, "80 joules for two");
        let powers: Vec<MachineLook> = looks.iter().map(|l| look(l.at_ms, None, 200_000)).collect();
        let by_power = super::energy(&attempts, &powers, &jobs).expect("energy");
        assert_eq!(by_power.pictures[0].joules, 40.0);
        assert_eq!(super::energy(&attempts, &[], &jobs), None);
    }

    #[test]
    fn a_curve_keeps_the_highest_of_looks_that_lie_together() {
        let looks: Vec<MachineLook> = (0..1000).map(|n| look(1000 + n, None, 0)).collect();
        let curve = curve(&looks);
        assert_eq!(curve.len(), 334);
        assert_eq!((curve[0].at_ms, curve[0].used_bytes), (2, 1002));
        assert!(super::curve(&[]).is_empty());
    }
}
