//! What a report says of memory: by phase, over time, on other cards and when it runs out; and of
//! energy.

use super::data::{LimitRun, MachineReport, MatrixCell, MeasuredEnergy, MemoryPhases};
use super::document::{Figure, ReportBlock};
use super::phrases::{heading, name, seconds, size_name, table, way};
use super::published::PUBLISHED_PHASES_GB;
use super::svg::{Bars, Level, Series, bars, curve};
use crate::engine::CARD_CONTEXT_BYTES;
use crate::moment::estimated;
use crate::spelling::memory;

/// For drawings, in bytes.
const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1_u64 << 20) as f64;

pub(super) fn blocks(report: &MachineReport) -> Vec<ReportBlock> {
    let mut blocks = vec![heading("Memory by phase")];
    match &report.memory {
        Some(phases) => blocks.extend(phases_told(phases)),
        None => blocks.push(ReportBlock::Paragraph("No picture was made.".to_owned())),
    }
    match report.curve.is_empty() {
        false => blocks.push(ReportBlock::Figure(curve_drawn(report))),
        true => blocks.push(ReportBlock::Paragraph(
            "No curve: nothing on this machine tells the use of memory while pictures are made."
                .to_owned(),
        )),
    }
    blocks.extend(matrix_told(report));
    blocks.extend(limits_told(report));
    blocks.push(heading("Energy"));
    match &report.energy {
        Some(energy) => blocks.extend(energy_told(energy)),
        None => blocks.push(ReportBlock::Paragraph(
            "Not measured: no counter of a card could be read.".to_owned(),
        )),
    }
    blocks
}

fn phases_told(phases: &MemoryPhases) -> Vec<ReportBlock> {
    let [idle, most, after, second] = PUBLISHED_PHASES_GB.map(|gb| format!("{gb} GB"));
    let size = size_name((phases.width, phases.height));
    let row =
        |phase: &str, here: String, published: String| vec![phase.to_owned(), here, published];
    let predicted = phases.predicted_bytes.map(memory).unwrap_or_default();
    let again = phases.second_peak_bytes.map(memory).unwrap_or_default();
    let rows = vec![
        row("idle, after the load", memory(phases.idle_bytes), idle),
        row(&format!("at the most, {size}"), memory(phases.first_peak_bytes), most),
        row("as it was predicted", predicted, String::new()),
        row("after the picture", memory(phases.after_bytes), after),
        row("the second picture, at the most", again, second),
    ];
    vec![
        table(&["phase", "here", "published: RTX 3070, 1024x1024"], rows),
        ReportBlock::Paragraph(
            "As the engine counts what it holds of the device; the driver's own context, some 400 \
             MiB of a card, comes on top. The published figures are the whole card's."
                .to_owned(),
        ),
    ]
}

/// The curve has all that the device holds, the prediction what the engine holds of it.
fn curve_drawn(report: &MachineReport) -> Figure {
    let beside_bytes = match &report.machine.card {
        Some(card) => card.used_before_bytes + CARD_CONTEXT_BYTES,
        None => 0,
    };
    let most = report.curve.iter().map(|sample| sample.used_bytes).max().unwrap_or(0);
    let (unit_bytes, unit) = if most < GIB as u64 { (MIB, "MiB") } else { (GIB, "GiB") };
    let mut levels: Vec<Level> = Vec::new();
    for size in &report.sizes {
        let Some(predicted_bytes) = size.predicted_bytes else { continue };
        let value = (predicted_bytes + beside_bytes) as f64 / unit_bytes;
        match levels.iter_mut().find(|level| level.value == value) {
            Some(same) => same.name += &format!(", {}", name(size)),
            None => levels.push(Level { name: format!("predicted, {}", name(size)), value }),
        }
    }
    let points: Vec<(f64, f64)> = report
        .curve
        .iter()
        .map(|sample| (sample.at_ms as f64 / 1000.0, sample.used_bytes as f64 / unit_bytes))
        .collect();
    let lines = match report.machine.card {
        Some(_) => "",
        // The program around the engine, and the picture before, which is written meanwhile.
        None => "; the lines are what the engine alone was predicted to hold",
    };
    let caption = format!("Memory over time: {}{lines}", report.curve_of);
    Figure { name: "memory", svg: curve(&caption, &points, &levels, ("s", unit)), caption }
}

fn matrix_told(report: &MachineReport) -> Vec<ReportBlock> {
    let mut blocks = vec![heading("What fits where")];
    if report.matrix.is_empty() {
        let none = "The scripted engine needs no memory: everything fits everywhere.";
        blocks.push(ReportBlock::Paragraph(none.to_owned()));
        return blocks;
    }
    blocks.push(ReportBlock::Paragraph(format!(
        "For {}, with the longest prompt that it reads: the rung that would be taken on a card of \
         so much memory, and what it is predicted to need at the most. Seconds are those of this \
         machine's device on that rung: how fast another card computes is not known here.",
        report.matrix_model
    )));
    blocks.push(matrix_table(&report.matrix));
    blocks
}

/// A row for each size and a column for each device.
fn matrix_table(matrix: &[MatrixCell]) -> ReportBlock {
    let size_of = |cell: &MatrixCell| (cell.width, cell.height);
    let device_of = |cell: &MatrixCell| (cell.device_bytes, cell.is_this_device);
    let (mut sizes, mut devices) = (Vec::new(), Vec::new());
    for cell in matrix {
        if !sizes.contains(&size_of(cell)) {
            sizes.push(size_of(cell));
        }
        if !devices.contains(&device_of(cell)) {
            devices.push(device_of(cell));
        }
    }
    let mut head = vec!["size".to_owned()];
    head.extend(devices.iter().map(|(bytes, is_this_one)| match is_this_one {
        true => format!("this device, {}", memory(*bytes)),
        false => memory(*bytes),
    }));
    let told = |size, device| {
        let cell = matrix.iter().find(|cell| size_of(cell) == size && device_of(cell) == device);
        cell.map(cell_told).unwrap_or_default()
    };
    let row = |size: &(u32, u32)| {
        let mut row = vec![size_name(*size)];
        row.extend(devices.iter().map(|device| told(*size, *device)));
        row
    };
    ReportBlock::Table { head, rows: sizes.iter().map(row).collect() }
}

fn cell_told(cell: &MatrixCell) -> String {
    let mut words = match (cell.fits, cell.is_degraded) {
        (false, _) => vec!["does not fit".to_owned()],
        (true, true) => vec![format!("{} (less than asked)", cell.rung)],
        (true, false) => vec![cell.rung.clone()],
    };
    if cell.fits {
        words.push(memory(cell.predicted_bytes));
        words.extend(cell.seconds.map(|time| match cell.is_measured {
            true => format!("{} measured", seconds(time * 1000.0)),
            false => format!("{} estimated", estimated((time * 1000.0) as u64)),
        }));
    }
    let here = words.join(", ");
    match &cell.published {
        Some(published) => format!("{here}; published: {published}"),
        None => here,
    }
}

fn limits_told(report: &MachineReport) -> Vec<ReportBlock> {
    let mut blocks = vec![heading("When memory runs out")];
    let Some(main) = report.main_size().filter(|_| !report.limits.is_empty()) else {
        blocks.push(ReportBlock::Paragraph("The device was not made smaller.".to_owned()));
        return blocks;
    };
    let failed = report.limits.iter().filter(|run| run.failure.is_some()).count();
    let failed = match failed {
        0 => "Nothing failed.".to_owned(),
        failed => format!("{failed} of {} failed.", report.limits.len()),
    };
    blocks.push(ReportBlock::Paragraph(format!(
        "The device was made smaller, step by step, by memory_limit, and {} rendered again after \
         each new load, which takes {} and {} with all of it. {failed}",
        name(main),
        seconds(main.total.median_ms),
        memory(main.peak_bytes),
    )));
    let row = |run: &LimitRun| {
        let lost = run.total_ms as f64 + run.lost_ms as f64 - main.total.median_ms;
        vec![
            memory(run.limit_bytes),
            match &run.failure {
                Some(why) => format!("failed: {why}"),
                None if run.is_degraded => run.rung.clone(),
                None => way(&run.rung).to_owned(),
            },
            if run.failure.is_none() { seconds(run.total_ms as f64) } else { String::new() },
            match (&run.failure, run.is_degraded) {
                (Some(_), _) => String::new(),
                (None, true) => "another picture: less than asked".to_owned(),
                (None, false) => seconds(lost.max(0.0)),
            },
            seconds(run.lost_ms as f64),
            memory(run.peak_bytes),
            if run.load_ms > 0 { seconds(run.load_ms as f64) } else { String::new() },
        ]
    };
    let head =
        ["memory", "rung", "a picture", "longer by", "of it in failed tries", "peak", "load"];
    blocks.push(table(&head, report.limits.iter().map(row).collect()));
    blocks.push(ReportBlock::Figure(limits_drawn(report, main.total.median_ms)));
    blocks
}

fn limits_drawn(report: &MachineReport, all_ms: f64) -> Figure {
    let mut groups = vec!["all of it".to_owned()];
    groups.extend(report.limits.iter().map(|run| memory(run.limit_bytes)));
    let made = |run: &LimitRun| run.failure.is_none().then_some(run.total_ms as f64 / 1000.0);
    let mut values = vec![Some(all_ms / 1000.0)];
    values.extend(report.limits.iter().map(made));
    let series = [Series { name: "a picture".to_owned(), values }];
    let caption = "Seconds a picture by the memory of the device".to_owned();
    Figure { name: "limits", svg: bars(&caption, Bars::Beside, &groups, &series, "s"), caption }
}

fn energy_told(energy: &MeasuredEnergy) -> Vec<ReportBlock> {
    let rows = energy.pictures.iter().map(|picture| {
        vec![
            size_name((picture.width, picture.height)),
            format!("{:.0}", picture.joules),
            format!("{:.3}", picture.joules / 3600.0),
        ]
    });
    let slowed = match energy.slowed_by.is_empty() {
        true => "Nothing slowed the card down.".to_owned(),
        false => format!("The card was slowed down by {}.", energy.slowed_by.join(", ")),
    };
    let idle = energy.idle_watts.map_or(String::new(), |watts| {
        format!(" With the model loaded and nothing to do it took {watts:.0} W.")
    });
    vec![
        table(&["size", "joules a picture", "watt-hours a picture"], rows.collect()),
        ReportBlock::Paragraph(format!(
            "By the card's own counters: {:.0} W and {} degrees Celsius at the most.{idle} {slowed}",
            energy.power_max_watts, energy.temperature_max_celsius,
        )),
    ]
}
