//! Two machines side by side.

use super::data::{MachineReport, MeasuredSize};
use super::document::{Document, Figure, ReportBlock};
use super::phrases::{heading, seconds, size_name, table};
use super::svg::{Bars, Series, bars};
use crate::spelling::memory;

/// What both reports say, beside each other.
pub fn comparison(left: &MachineReport, right: &MachineReport) -> Document {
    let names = names(left, right);
    let mut blocks: Vec<ReportBlock> = Vec::new();
    blocks.extend(unlike(left, right).map(ReportBlock::Paragraph));
    blocks.push(heading("The machines"));
    let head = ["", names[0].as_str(), names[1].as_str()];
    blocks.push(table(&head, facts(left, right)));
    blocks.push(heading("Seconds a picture"));
    let both = pairs(left, right);
    let rows = both.iter().map(|(size, [left, right])| time_row(size, left, right)).collect();
    let ratio = format!("{} by {}", names[1], names[0]);
    let head = ["size", names[0].as_str(), names[1].as_str(), ratio.as_str()];
    blocks.push(table(&head, rows));
    blocks.push(ReportBlock::Figure(times(&names, &both)));
    blocks.push(heading("Memory at the most"));
    let rows = both.iter().map(|(size, both)| {
        let peak = |one: &&MeasuredSize| memory(one.peak_bytes);
        let [left, right] = both.map(|one| one.as_ref().map(peak).unwrap_or_default());
        vec![size.clone(), left, right]
    });
    let head = ["size", names[0].as_str(), names[1].as_str()];
    blocks.push(table(&head, rows.collect()));
    if left.energy.is_some() || right.energy.is_some() {
        blocks.push(heading("Joules a picture"));
        let rows = both
            .iter()
            .map(|(size, _)| vec![size.clone(), joules(left, size), joules(right, size)]);
        blocks.push(table(&head, rows.collect()));
    }
    Document { title: format!("{} and {}", names[0], names[1]), blocks }
}

/// The devices' names, told apart where they are the same.
fn names(left: &MachineReport, right: &MachineReport) -> [String; 2] {
    let (left, right) = (&left.machine.device, &right.machine.device);
    match left == right {
        true => [format!("{left} (first)"), format!("{right} (second)")],
        false => [left.clone(), right.clone()],
    }
}

/// What makes the times of the two no comparison of machines.
fn unlike(left: &MachineReport, right: &MachineReport) -> Option<String> {
    let mut differs = Vec::new();
    if left.model.name != right.model.name {
        differs.push(format!("models ({}, {})", left.model.name, right.model.name));
    }
    if left.asked.steps != right.asked.steps {
        differs.push(format!("steps ({}, {})", left.asked.steps, right.asked.steps));
    }
    if left.asked.guidance != right.asked.guidance {
        differs.push(format!("guidance ({}, {})", left.asked.guidance, right.asked.guidance));
    }
    if left.zimaged != right.zimaged {
        differs.push(format!("versions of zimaged ({}, {})", left.zimaged, right.zimaged));
    }
    (!differs.is_empty()).then(|| format!("The two differ in {}.", differs.join(", ")))
}

fn facts(left: &MachineReport, right: &MachineReport) -> Vec<Vec<String>> {
    let both = |name: &str, fact: fn(&MachineReport) -> String| {
        vec![name.to_owned(), fact(left), fact(right)]
    };
    vec![
        both("processor", |report| report.machine.processor.clone()),
        both("memory of the device", |report| {
            report.machine.device_bytes.map(memory).unwrap_or_default()
        }),
        both("driver", |report| {
            report.machine.card.as_ref().map(|card| card.driver.clone()).unwrap_or_default()
        }),
        both("model", |report| report.model.name.clone()),
        both("steps", |report| report.asked.steps.to_string()),
        both("load", |report| {
            report.loads.last().map(|load| seconds(load.load_ms as f64)).unwrap_or_default()
        }),
        both("idle, after the load", |report| {
            report.memory.as_ref().map(|phases| memory(phases.idle_bytes)).unwrap_or_default()
        }),
    ]
}

type Pair<'a> = (String, [Option<&'a MeasuredSize>; 2]);

/// All sizes of which either made pictures, in the order of the reports.
fn pairs<'a>(left: &'a MachineReport, right: &'a MachineReport) -> Vec<Pair<'a>> {
    let mut sizes: Vec<(u32, u32)> = Vec::new();
    for size in left.sizes.iter().chain(&right.sizes) {
        if !sizes.contains(&(size.width, size.height)) {
            sizes.push((size.width, size.height));
        }
    }
    let of = |report: &'a MachineReport, size: (u32, u32)| {
        let same = |one: &&MeasuredSize| (one.width, one.height) == size && one.pictures > 0;
        report.sizes.iter().find(same)
    };
    let pair = |size: (u32, u32)| (size_name(size), [of(left, size), of(right, size)]);
    sizes.into_iter().map(pair).collect()
}

fn time_row(
    size: &str,
    left: &Option<&MeasuredSize>,
    right: &Option<&MeasuredSize>,
) -> Vec<String> {
    let time = |one: &Option<&MeasuredSize>| one.map(|one| one.total.median_ms);
    let shown = |one: &Option<&MeasuredSize>| time(one).map(seconds).unwrap_or_default();
    let ratio = time(left).zip(time(right)).map(|(left, right)| right / left.max(1e-3));
    let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    vec![size.to_owned(), shown(left), shown(right), ratio]
}

/// What a picture of the size of this name took of the card; empty where that is not known.
fn joules(report: &MachineReport, size: &str) -> String {
    let pictures = report.energy.iter().flat_map(|energy| &energy.pictures);
    let mut same = pictures.filter(|one| size_name((one.width, one.height)) == size);
    same.next().map(|one| format!("{:.0}", one.joules)).unwrap_or_default()
}

fn times(names: &[String; 2], both: &[Pair<'_>]) -> Figure {
    let series: Vec<Series> = names
        .iter()
        .enumerate()
        .map(|(place, name)| Series {
            name: name.clone(),
            values: both
                .iter()
                .map(|(_, pair)| pair[place].map(|one| one.total.median_ms / 1000.0))
                .collect(),
        })
        .collect();
    let groups: Vec<String> = both.iter().map(|(size, _)| size.clone()).collect();
    let caption = "Seconds a picture".to_owned();
    Figure { name: "times", svg: bars(&caption, Bars::Beside, &groups, &series, "s"), caption }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;

    #[test]
    fn two_machines_stand_beside_each_other_with_what_makes_them_unlike() {
        let (left, mut right) = (report(), report());
        right.machine.device = "NVIDIA H200".to_owned();
        right.sizes[0].total.median_ms = 1000.0;
        let same = comparison(&left, &right).markdown();
        assert!(
            same.contains("| size | NVIDIA X | NVIDIA H200 | NVIDIA H200 by NVIDIA X |"),
            "{same}"
        );
        assert!(same.contains("| 1024x1024 | 4.00 s | 1.00 s | 0.25 |"), "{same}");
        assert!(!same.contains("differ"), "{same}");
        right.energy = None;
        let one_card = comparison(&left, &right).markdown();
        assert!(one_card.contains("## Joules a picture"), "{one_card}");
        assert!(one_card.contains("| 1024x1024 | 900 |  |"), "{one_card}");
        let mut cpu = left.clone();
        cpu.energy = None;
        assert!(!comparison(&cpu, &right).markdown().contains("Joules"));
        right.asked.steps = 40;
        right.sizes[0].width = 512;
        let other = comparison(&left, &right).markdown();
        assert!(other.contains("The two differ in steps (8, 40)."), "{other}");
        assert!(other.contains("| 1024x1024 | 4.00 s |  |  |"), "{other}");
        assert!(other.contains("| 512x1024 |  | 1.00 s |  |"), "{other}");
        let twice = comparison(&left, &left).markdown();
        assert!(twice.contains("NVIDIA X (first)"), "{twice}");
    }
}
