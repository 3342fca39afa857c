//! Which settings to use for what, as far as the measurements say: pure.

use super::data::{MachineReport, MatrixCell, MeasuredSize, PictureEnergy};
use super::phrases::{name, size_name, way};
use crate::moment::estimated;
use crate::spelling::memory;

/// A preview is waited for; no longer than this, in seconds.
const PREVIEW_S: f64 = 5.0;

/// Nor is daily work watched for longer.
const DAILY_S: f64 = 30.0;

/// Joules of a kilowatt-hour.
const JOULES_PER_KWH: f64 = 3.6e6;

/// One sentence or two for each use.
pub fn advice(report: &MachineReport) -> Vec<String> {
    let made: Vec<&MeasuredSize> = report.sizes.iter().filter(|size| size.pictures > 0).collect();
    if made.is_empty() {
        return vec!["No picture was made: there is nothing to advise.".to_owned()];
    }
    let mut advice = Vec::new();
    if report.model.is_miniature {
        advice.push(
            "The miniature model rendered: its times and its memory say how the program runs \
             here, and nothing of Z-Image-Turbo."
                .to_owned(),
        );
    }
    advice.extend(quick_uses(&made, report.asked.steps));
    advice.extend(product_pictures(report, &made));
    advice.extend(full_model_here(report));
    advice.extend(smallest_card(report));
    advice.extend(lost_time(report));
    advice.extend(energy(report));
    advice
}

fn pixels(size: &MeasuredSize) -> u64 {
    u64::from(size.width) * u64::from(size.height)
}

fn seconds(size: &MeasuredSize) -> f64 {
    size.total.median_ms / 1000.0
}

/// For previews and for daily work: a sentence for each, or one where the answer is the same.
fn quick_uses(made: &[&MeasuredSize], steps: u32) -> Vec<String> {
    let told = |purpose: &str, size: &MeasuredSize| {
        let a_minute = 60.0 / seconds(size).max(1e-3);
        format!(
            "{purpose}: {} with {steps} steps, {:.1} s a picture, {a_minute:.1} a minute, as {}.",
            name(size),
            seconds(size),
            way(&size.rung),
        )
    };
    match (largest_within(made, PREVIEW_S), largest_within(made, DAILY_S)) {
        (Some(preview), Some(daily)) if name(preview) == name(daily) => {
            vec![told("Previews, drafts and daily work", daily)]
        }
        (Some(preview), Some(daily)) => {
            vec![told("Previews and drafts", preview), told("Daily work", daily)]
        }
        (None, Some(daily)) => {
            let quickest = too_slow("Previews and drafts", made, PREVIEW_S);
            quickest.into_iter().chain([told("Daily work", daily)]).collect()
        }
        (_, None) => {
            let quickest = too_slow("Previews, drafts and daily work", made, DAILY_S);
            let night = |told: String| told + " Let the queue work through the night.";
            quickest.map(night).into_iter().collect()
        }
    }
}

/// The largest size that is made, as it was asked for, within the time.
fn largest_within<'a>(made: &[&'a MeasuredSize], seconds_max: f64) -> Option<&'a MeasuredSize> {
    let quick = made.iter().filter(|size| seconds(size) <= seconds_max && !size.is_degraded);
    quick.max_by_key(|size| pixels(size)).copied()
}

fn too_slow(purpose: &str, made: &[&MeasuredSize], seconds_max: f64) -> Option<String> {
    let quickest = made.iter().min_by(|a, b| seconds(a).total_cmp(&seconds(b)))?;
    Some(format!(
        "{purpose}: no measured size is made as asked within {seconds_max} s; the quickest is {}, \
         at {:.1} s.",
        name(quickest),
        seconds(quickest),
    ))
}

/// This device's answers for the model of the matrix, as far as it renders what was asked.
fn fitting_here(report: &MachineReport) -> impl Iterator<Item = &MatrixCell> {
    report.matrix.iter().filter(|cell| cell.is_this_device && cell.fits && !cell.is_degraded)
}

/// The largest size that this device renders as asked.
fn product_pictures(report: &MachineReport, made: &[&MeasuredSize]) -> Option<String> {
    if report.model.is_miniature {
        let largest = largest_within(made, f64::INFINITY)?;
        let (name, taken) = (name(largest), seconds(largest));
        return Some(format!(
            "Product pictures: of all sizes {name} is the largest, at {taken:.1} s."
        ));
    }
    let own = fitting_here(report);
    let largest = own.max_by_key(|cell| u64::from(cell.width) * u64::from(cell.height))?;
    Some(format!(
        "Product pictures: {} fits as asked, with {} at the most{}.",
        size_name((largest.width, largest.height)),
        memory(largest.predicted_bytes),
        time_of(largest),
    ))
}

/// What the miniature's times cannot say: how this device would do with the real model.
fn full_model_here(report: &MachineReport) -> Option<String> {
    let usual = |cell: &&MatrixCell| (cell.width, cell.height) == (1024, 1024);
    let cell = fitting_here(report).find(usual).filter(|_| report.model.is_miniature)?;
    let model = &report.matrix_model;
    Some(format!("{model} would make 1024x1024 here as {}{}.", cell.rung, time_of(cell)))
}

fn time_of(cell: &MatrixCell) -> String {
    match cell.seconds {
        Some(seconds) if cell.is_measured => format!("; it took {seconds:.1} s"),
        Some(seconds) => format!("; about {} by estimate", estimated((seconds * 1000.0) as u64)),
        None => String::new(),
    }
}

/// The smallest card of the matrix on which the model's own size is rendered as asked.
fn smallest_card(report: &MachineReport) -> Option<String> {
    let usual = |cell: &&MatrixCell| (cell.width, cell.height) == (1024, 1024);
    let cards = report.matrix.iter().filter(|cell| !cell.is_this_device).filter(usual);
    let fitting = cards.filter(|cell| cell.fits && !cell.is_degraded);
    let smallest = fitting.min_by_key(|cell| cell.device_bytes)?;
    Some(format!(
        "A card of {} GiB renders 1024x1024 of {} as asked, as {}, by prediction.",
        smallest.device_bytes >> 30,
        report.matrix_model,
        smallest.rung,
    ))
}

/// What a smaller device would cost.
fn lost_time(report: &MachineReport) -> Option<String> {
    let main = report.main_size()?;
    let made = report.limits.iter().filter(|run| run.failure.is_none());
    let smallest = made.filter(|run| !run.is_degraded).min_by_key(|run| run.limit_bytes)?;
    let lost_s = (smallest.total_ms + smallest.lost_ms) as f64 / 1000.0 - seconds(main);
    Some(format!(
        "With {} in place of {} the same picture took {} and was made as {}.",
        memory(smallest.limit_bytes),
        memory(main.peak_bytes),
        match lost_s {
            lost if lost > 0.05 => format!("{lost:.1} s longer"),
            _ => "no longer".to_owned(),
        },
        way(&smallest.rung),
    ))
}

fn energy(report: &MachineReport) -> Option<String> {
    let main = report.main_size()?;
    let energy = report.energy.as_ref()?;
    let size = |one: &&PictureEnergy| (one.width, one.height) == (main.width, main.height);
    let picture = energy.pictures.iter().find(size)?;
    let per_kwh = JOULES_PER_KWH / picture.joules.max(1e-3);
    Some(format!("A kilowatt-hour of the card makes {per_kwh:.0} pictures of {}.", name(main)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;

    #[test]
    fn advice_follows_from_what_was_measured() {
        let told = advice(&report()).join("\n");
        for words in [
            "Previews, drafts and daily work: 1024x1024 with 8 steps, 4.0 s a picture, 15.0 a \
             minute, as device/full/whole.",
            "Product pictures: 1024x1024 fits as asked, with 18.00 GiB at the most; it took 4.0 s.",
            "A card of 8 GiB renders 1024x1024",
            "With 8.00 GiB in place of 18.00 GiB the same picture took 2.0 s longer",
            "A kilowatt-hour of the card makes 4000 pictures",
        ] {
            assert!(told.contains(words), "{words}\n{told}");
        }
        let told_at = |median_ms: f64| {
            let mut slower = report();
            slower.sizes[0].total.median_ms = median_ms;
            advice(&slower).join("\n")
        };
        let slower = told_at(20_000.0);
        assert!(
            slower.contains("Previews and drafts: no measured size is made as asked within 5 s")
        );
        assert!(slower.contains("Daily work: 1024x1024 with 8 steps, 20.0 s"), "{slower}");
        let slow = told_at(40_000.0);
        assert!(slow.contains("at 40.0 s. Let the queue work through the night."), "{slow}");
        let mut none = report();
        none.sizes[0].pictures = 0;
        assert_eq!(advice(&none).len(), 1);
    }

    #[test]
    fn the_miniature_advises_by_its_pictures_and_estimates_the_real_model() {
        let mut small = report();
        small.model.is_miniature = true;
        (small.matrix[1].seconds, small.matrix[1].is_measured) = (Some(7800.0), false);
        let told = advice(&small).join("\n");
        for words in [
            "nothing of Z-Image-Turbo",
            "Product pictures: of all sizes 1024x1024 is the largest, at 4.0 s.",
            "Z-Image-Turbo would make 1024x1024 here as device/full/whole; about 2 h 10 min by \
             estimate.",
        ] {
            assert!(told.contains(words), "{words}\n{told}");
        }
    }
}
