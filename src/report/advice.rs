//! Which settings to use for what, as far as the measurements say: pure.

use super::data::{MachineReport, MatrixCell, MeasuredSize, PictureEnergy};
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
    advice.extend(within("Previews and drafts", &made, PREVIEW_S));
    advice.extend(within("Daily work", &made, DAILY_S));
    advice.extend(large(&report.matrix));
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

/// The largest size that is made, as it was asked for, within the time.
fn within(purpose: &str, made: &[&MeasuredSize], seconds_max: f64) -> Option<String> {
    let quick = made.iter().filter(|size| seconds(size) <= seconds_max && !size.is_degraded);
    let Some(size) = quick.max_by_key(|size| pixels(size)) else {
        let quickest = made.iter().min_by(|a, b| seconds(a).total_cmp(&seconds(b)))?;
        return Some(format!(
            "{purpose}: no measured size is made as asked within {seconds_max} s; the quickest is \
             {}x{}, at {:.1} s. Let the queue work through the night.",
            quickest.width,
            quickest.height,
            seconds(quickest),
        ));
    };
    let a_minute = 60.0 / seconds(size).max(1e-3);
    Some(format!(
        "{purpose}: {}x{}, {:.1} s a picture, {a_minute:.1} a minute, on the rung {}.",
        size.width,
        size.height,
        seconds(size),
        size.rung,
    ))
}

/// The largest size that this device renders as asked.
fn large(matrix: &[MatrixCell]) -> Option<String> {
    let own = matrix.iter().filter(|cell| cell.is_this_device && cell.fits && !cell.is_degraded);
    let largest = own.max_by_key(|cell| u64::from(cell.width) * u64::from(cell.height))?;
    let time = match largest.seconds {
        Some(seconds) if largest.is_measured => format!("; it took {seconds:.1} s"),
        Some(seconds) => format!("; about {seconds:.1} s by estimate"),
        None => String::new(),
    };
    Some(format!(
        "Product pictures: {}x{} fits as asked, with {} at the most{time}.",
        largest.width,
        largest.height,
        memory(largest.predicted_bytes),
    ))
}

/// The smallest card of the matrix on which the model's own size is rendered as asked.
fn smallest_card(report: &MachineReport) -> Option<String> {
    let usual = |cell: &&MatrixCell| (cell.width, cell.height) == (1024, 1024);
    let cards = report.matrix.iter().filter(|cell| !cell.is_this_device).filter(usual);
    let fitting = cards.filter(|cell| cell.fits && !cell.is_degraded);
    let smallest = fitting.min_by_key(|cell| cell.device_bytes)?;
    Some(format!(
        "A card of {} renders 1024x1024 of {} as asked, on the rung {}, by prediction.",
        memory(smallest.device_bytes),
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
        "With {} in place of {} the same picture took {} and was made on the rung {}.",
        memory(smallest.limit_bytes),
        memory(main.peak_bytes),
        match lost_s {
            lost if lost > 0.05 => format!("{lost:.1} s longer"),
            _ => "no longer".to_owned(),
        },
        smallest.rung,
    ))
}

fn energy(report: &MachineReport) -> Option<String> {
    let main = report.main_size()?;
    let energy = report.energy.as_ref()?;
    let size = |one: &&PictureEnergy| (one.width, one.height) == (main.width, main.height);
    let picture = energy.pictures.iter().find(size)?;
    let per_kwh = JOULES_PER_KWH / picture.joules.max(1e-3);
    Some(format!(
        "A kilowatt-hour of the card makes {per_kwh:.0} pictures of {}x{}.",
        main.width, main.height
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;

    #[test]
    fn advice_follows_from_what_was_measured() {
        let told = advice(&report()).join("\n");
        for words in [
            "Previews and drafts: 1024x1024, 4.0 s a picture, 15.0 a minute",
            "Daily work: 1024x1024",
            "Product pictures: 1024x1024 fits as asked, with 18.00 GiB at the most; it took 4.0 s.",
            "A card of 8.00 GiB renders 1024x1024",
            "With 8.00 GiB in place of 18.00 GiB the same picture took 2.0 s longer",
            "A kilowatt-hour of the card makes 4000 pictures",
        ] {
            assert!(told.contains(words), "{words}\n{told}");
        }
        let mut slow = report();
        slow.sizes[0].total.median_ms = 40_000.0;
        let told = advice(&slow).join("\n");
        assert!(told.contains("Previews and drafts: no measured size is made as asked"), "{told}");
        slow.sizes[0].pictures = 0;
        assert_eq!(advice(&slow).len(), 1);
    }
}
