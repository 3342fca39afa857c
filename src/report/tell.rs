//! A report as a document for people: the machine, loading, and times. `tell_memory` has the rest.

use super::data::{
    Asked, Machine, MachineReport, MeasuredLoad, MeasuredSize, ReportedPart, Spread,
};
use super::document::{Document, Figure, ReportBlock};
use super::phrases::{by_second, decimal, heading, name, seconds, table, way};
use super::published::{PUBLISHED_CARDS, PUBLISHED_GUIDANCE, PUBLISHED_STEPS};
use super::svg::{Bars, Series, bars};
use super::tell_memory;
use crate::moment;
use crate::spelling::{count, memory};

/// From so many threads of other programs on, as a part of what can run at once, times are longer.
const BUSY: f64 = 0.5;

/// What the words of a rung mean, for who reads nothing but the report.
const RUNGS_TOLD: [&str; 4] = [
    "A rung says how a picture is made, like streamed12/full/stripes256: where the weights are, in \
     which precision, and how the picture is decoded.",
    "device: all weights stay on the device; text-released: the text encoder is read for each new \
     prompt; streamed12: 12 of the transformer's blocks stay on the device, and the others come \
     from the host's memory in each step; host: the processor computes.",
    "full: bf16 on a card, f32 on a processor; int8: weights and what they multiply have 8 bits; \
     q8 and q4: weights have 8 or 4 bits.",
    "whole: decoded in one piece; stripes256: in bands of 256 rows, to the same picture; tiles512: \
     in overlapping squares of 512 pixels, which are blended.",
];

/// All of it, in the order of the published report.
pub fn document(report: &MachineReport) -> Document {
    let machine = &report.machine;
    let mut blocks = vec![ReportBlock::Paragraph(method(report))];
    if report.model.is_miniature {
        blocks.push(ReportBlock::Paragraph(
            "The model is the miniature that the program carries: 15 MB of the same architecture. \
             Its times and its memory say how the program runs on this machine, and nothing of \
             Z-Image-Turbo, also where the published figures of that stand beside them."
                .to_owned(),
        ));
    }
    if !report.left_out.is_empty() {
        blocks.push(ReportBlock::List(report.left_out.clone()));
    }
    blocks.extend(busy(machine));
    blocks.push(heading("What to use"));
    blocks.push(ReportBlock::List(report.advice.clone()));
    blocks.push(heading("How to read a rung"));
    blocks.push(ReportBlock::List(RUNGS_TOLD.map(str::to_owned).to_vec()));
    blocks.extend(machine_told(report));
    blocks.extend(loads_told(report));
    blocks.extend(sizes_told(report));
    blocks.extend(tell_memory::blocks(report));
    Document { title: format!("{} on {}", report.model.name, machine.device), blocks }
}

/// What to think of times that were measured beside other work.
fn busy(machine: &Machine) -> Option<ReportBlock> {
    let load = machine.load_before.filter(|load| *load > BUSY * machine.threads as f64)?;
    Some(ReportBlock::Paragraph(format!(
        "The machine was busy: in the minute before, {load:.1} threads of other programs wanted \
         its {}. All times are longer for that, also what is estimated from them, and are not to \
         be compared with those of an idle machine.",
        machine.threads,
    )))
}

fn method(report: &MachineReport) -> String {
    let asked = &report.asked;
    format!(
        "Made on {} by zimaged {}: real pictures, rendered by its daemon from a queue of its own, \
         {} of each size with {} steps and guidance {}, each with a prompt that was not seen \
         before, after one picture that does not count. Times are those of the daemon's own rows, \
         from the beginning of an attempt until the device was free again.{}",
        moment::date_and_time(report.made_at_ms),
        report.zimaged,
        asked.repeats,
        asked.steps,
        asked.guidance,
        match report.is_optimised {
            true => "",
            false => " The program was built without optimisation.",
        },
    )
}

fn machine_told(report: &MachineReport) -> Vec<ReportBlock> {
    let (machine, model) = (&report.machine, &report.model);
    let mut facts = vec![
        ("device", machine.device.clone()),
        ("processor", format!("{}, {} threads", machine.processor, machine.threads)),
        ("memory", machine.memory_bytes.map(memory).unwrap_or_default()),
        ("system", machine.system.clone()),
    ];
    let others = |load: f64| ("load average of the minute before", format!("{load:.1}"));
    facts.extend(machine.load_before.map(others));
    facts.extend(machine.device_bytes.map(|bytes| ("memory of the device", memory(bytes))));
    if let Some(card) = &machine.card {
        facts.push(("driver", card.driver.clone()));
        facts.extend(card.cuda.clone().map(|cuda| ("CUDA of the driver", cuda)));
        facts.extend(card.power_limit_watts.map(|limit| ("power limit", format!("{limit:.0} W"))));
        facts.extend(card.bus.clone().map(|bus| ("bus (generation, lanes)", bus)));
        facts.push(("in use before, by others", memory(card.used_before_bytes)));
    }
    facts.push(("model", model.name.clone()));
    let hash = model.hash.clone().unwrap_or_else(|| "not known before the end".to_owned());
    facts.push(("SHA-256 of all its weights", hash));
    let rows = facts.into_iter().map(|(name, fact)| vec![name.to_owned(), fact]).collect();
    let mut blocks = vec![heading("Machine and model"), table(&["", ""], rows)];
    if !model.parts.is_empty() {
        let part = |part: &ReportedPart| {
            let hash = part.sha256.clone().unwrap_or_default();
            let source = part.source.clone().unwrap_or_default();
            vec![part.part.clone(), decimal(part.bytes as f64), hash, source]
        };
        let rows = model.parts.iter().map(part).collect();
        blocks.push(table(&["part", "files", "SHA-256", "fetched from"], rows));
    }
    blocks
}

fn loads_told(report: &MachineReport) -> Vec<ReportBlock> {
    let mut head = vec!["what".to_owned(), "files".to_owned()];
    for load in &report.loads {
        head.extend([load_kind(load).to_owned(), "of the files' bytes".to_owned()]);
    }
    let mut blocks = vec![heading("Loading"), ReportBlock::Table { head, rows: load_rows(report) }];
    let has_parts = report.loads.iter().any(|load| !load.parts.is_empty());
    blocks.push(ReportBlock::List(beside_loads(report, has_parts)));
    blocks
}

fn load_kind(load: &MeasuredLoad) -> &'static str {
    if load.is_cold { "cold: from the disk" } else { "warm: as the cache had it" }
}

/// A row for each part, for what else a load takes, for all of it, and for the picture after it.
fn load_rows(report: &MachineReport) -> Vec<Vec<String>> {
    let row = |what: &str, bytes: u64, ms: &dyn Fn(&MeasuredLoad) -> Option<u64>| {
        let size = if bytes > 0 { decimal(bytes as f64) } else { String::new() };
        let mut row = vec![what.to_owned(), size];
        for ms in report.loads.iter().map(ms) {
            row.push(ms.map(|ms| seconds(ms as f64)).unwrap_or_default());
            let rate = |ms: u64| by_second(bytes as f64 / (ms.max(1) as f64 / 1000.0));
            row.push(ms.filter(|_| bytes > 0).map(rate).unwrap_or_default());
        }
        row
    };
    let first = report.loads.first();
    let parts = first.map(|load| load.parts.as_slice()).unwrap_or_default();
    let mut rows: Vec<Vec<String>> = parts
        .iter()
        .map(|part| row(&part.part, part.bytes, &|load| part_ms(load, &part.part)))
        .collect();
    if !parts.is_empty() {
        rows.push(row("everything else", 0, &|load| Some(other_ms(load))));
    }
    let weights_bytes = first.map_or(0, |load| load.weights_bytes);
    rows.push(row("all of it", weights_bytes, &|load| Some(load.load_ms)));
    rows.push(row("the first picture after it", 0, &|load| load.first_picture_ms));
    rows
}

fn part_ms(load: &MeasuredLoad, name: &str) -> Option<u64> {
    load.parts.iter().find(|part| part.part == name).map(|part| part.load_ms)
}

fn other_ms(load: &MeasuredLoad) -> u64 {
    load.load_ms.saturating_sub(load.parts.iter().map(|part| part.load_ms).sum())
}

fn beside_loads(report: &MachineReport, has_parts: bool) -> Vec<String> {
    let mut beside = Vec::new();
    if has_parts {
        beside.push(
            "Everything else is opening the device, and in the first load measuring its speed."
                .to_owned(),
        );
    }
    if let Some(disk) = &report.disk {
        beside.push(format!(
            "The disk gives {}, and the system's cache {}, read in one thread.",
            by_second(disk.cold_bytes_per_s),
            by_second(disk.warm_bytes_per_s)
        ));
    }
    if let Some(speed) = &report.device_speed {
        beside.push(format!(
            "Weights go from the host's memory to the device with {}, and with {} while it \
             computes.",
            by_second(speed.read_bytes_per_s),
            by_second(speed.streamed_bytes_per_s)
        ));
    }
    let published: Vec<String> = PUBLISHED_CARDS
        .iter()
        .map(|card| match card.load_s {
            Some(load_s) => format!("{} {load_s:.0} s", card.name),
            None => format!("{} out of memory", card.name),
        })
        .collect();
    beside.push(format!("Published times of loading: {}.", published.join(", ")));
    beside
}

fn sizes_told(report: &MachineReport) -> Vec<ReportBlock> {
    let mut blocks = vec![heading("Seconds a picture")];
    let rows = report.sizes.iter().map(size_row).collect();
    let head = [
        "size",
        "median",
        "fastest",
        "slowest",
        "text",
        "denoising",
        "VAE",
        "file, written beside the next picture",
        "rung",
    ];
    blocks.push(table(&head, rows));
    let failures: Vec<String> = report
        .sizes
        .iter()
        .flat_map(|size| size.failures.iter().map(|why| format!("{}: {why}", name(size))))
        .collect();
    if !failures.is_empty() {
        blocks.push(ReportBlock::List(failures));
    }
    blocks.push(ReportBlock::Figure(stages(&report.sizes)));
    let Asked { steps, guidance, .. } = report.asked;
    blocks.push(ReportBlock::Paragraph(format!(
        "Beside it the published figures. By their own words they are of {PUBLISHED_STEPS} steps \
         with guidance {PUBLISHED_GUIDANCE}, for which the model runs {} a picture; here it \
         runs {}, in {} with guidance {guidance}.",
        count(runs(PUBLISHED_STEPS, PUBLISHED_GUIDANCE).into(), "time"),
        count(runs(steps, guidance).into(), "time"),
        count(steps.into(), "step"),
    )));
    let mut head = vec!["size".to_owned(), "here".to_owned()];
    head.extend(PUBLISHED_CARDS.iter().map(|card| card.name.to_owned()));
    let rows = report.sizes.iter().map(published_row).collect();
    blocks.push(ReportBlock::Table { head, rows });
    blocks.push(ReportBlock::Figure(beside_published(&report.sizes)));
    blocks
}

/// How often the model runs for a picture: twice a step where there is guidance.
fn runs(steps: u32, guidance: f64) -> u32 {
    if guidance > 0.0 { 2 * steps } else { steps }
}

fn size_row(size: &MeasuredSize) -> Vec<String> {
    let time = |spread: &Spread| seconds(spread.median_ms);
    if size.pictures == 0 {
        let mut row = vec![name(size), "failed".to_owned()];
        row.resize(9, String::new());
        return row;
    }
    vec![
        name(size),
        time(&size.total),
        seconds(size.total.min_ms),
        seconds(size.total.max_ms),
        time(&size.text_encode),
        time(&size.denoise),
        time(&size.vae_decode),
        time(&size.picture_encode),
        made_as(size),
    ]
}

/// The rung; with size and steps where those are not the ones that were asked for.
fn made_as(size: &MeasuredSize) -> String {
    if size.is_degraded { size.rung.clone() } else { way(&size.rung).to_owned() }
}

fn published_row(size: &MeasuredSize) -> Vec<String> {
    let here = match size.pictures {
        0 => "failed".to_owned(),
        _ => seconds(size.total.median_ms),
    };
    let published = PUBLISHED_CARDS.iter().map(|card| card.cell_of((size.width, size.height)));
    [name(size), here].into_iter().chain(published).collect()
}

fn stages(sizes: &[MeasuredSize]) -> Figure {
    let stage = |name: &str, time: fn(&MeasuredSize) -> Spread| Series {
        name: name.to_owned(),
        values: sizes.iter().map(|size| Some(time(size).median_ms / 1000.0)).collect(),
    };
    let series = [
        stage("text", |size| size.text_encode),
        stage("denoising", |size| size.denoise),
        stage("VAE", |size| size.vae_decode),
    ];
    let groups: Vec<String> = sizes.iter().map(name).collect();
    let caption = "Seconds a picture by stage".to_owned();
    Figure { name: "stages", svg: bars(&caption, Bars::Stacked, &groups, &series, "s"), caption }
}

fn beside_published(sizes: &[MeasuredSize]) -> Figure {
    let here =
        sizes.iter().map(|size| (size.pictures > 0).then_some(size.total.median_ms / 1000.0));
    let mut series = vec![Series { name: "here".to_owned(), values: here.collect() }];
    let cards = PUBLISHED_CARDS.iter().filter(|card| card.load_s.is_some());
    series.extend(cards.map(|card| Series {
        name: format!("{}, published", card.name),
        values: sizes.iter().map(|size| card.seconds_of((size.width, size.height))).collect(),
    }));
    let groups: Vec<String> = sizes.iter().map(name).collect();
    let caption = "Seconds a picture, here and as published".to_owned();
    Figure { name: "published", svg: bars(&caption, Bars::Beside, &groups, &series, "s"), caption }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;

    fn headings(document: &Document) -> Vec<&str> {
        document.blocks.iter().filter_map(ReportBlock::heading).collect()
    }

    #[test]
    fn a_report_has_all_its_parts_in_order() {
        let document = document(&report());
        let parts = [
            "What to use",
            "How to read a rung",
            "Machine and model",
            "Loading",
            "Seconds a picture",
            "Memory by phase",
            "What fits where",
            "When memory runs out",
            "Energy",
        ];
        assert_eq!(headings(&document), parts);
        let drawings: Vec<&str> = document.figures().map(|figure| figure.name).collect();
        assert_eq!(drawings, ["stages", "published", "memory", "limits"]);
        let text = document.markdown();
        for line in [
            "| 1024x1024 | 4.00 s | 3.50 s | 5.00 s | 500 ms | 3.00 s | 400 ms | 300 ms | device/full/whole |",
            "| 1024x1024 | 4.00 s | fails to load | 18.7 s | 13.6 s | 8.2 s |",
            "| 8.00 GiB | streamed12/full/whole | 6.00 s | 2.00 s | 0 ms | 6.00 GiB | 30.00 s |",
            "| what | files | cold: from the disk | of the files' bytes |",
            "| transformer | 12.00 GB | 10.00 s | 1.20 GB/s |",
            "| everything else |  | 10.00 s |  |",
            "| all of it | 20.00 GB | 20.00 s | 1.00 GB/s |",
            "| the first picture after it |  | 5.00 s |  |",
            "| size | 8.00 GiB | this device, 24.00 GiB |",
            "device/full/whole, 18.00 GiB, 4.00 s measured |",
            "| 1024x1024 | 900 | 0.250 |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_busy_machine_is_told_before_any_advice() {
        let mut busy = report();
        let place = |report: &MachineReport| document(report).markdown().find("was busy: in");
        assert_eq!(place(&busy), None);
        busy.machine.load_before = Some(5.0);
        let advice = document(&busy).markdown().find("What to use");
        assert!(place(&busy).is_some() && place(&busy) < advice);
    }

    #[test]
    fn what_was_not_measured_is_said_and_no_part_is_missing() {
        let mut bare = report();
        (bare.sizes, bare.limits, bare.curve) = (Vec::new(), Vec::new(), Vec::new());
        (bare.memory, bare.energy, bare.disk) = (None, None, None);
        let text = document(&bare).markdown();
        for words in ["No picture was made.", "No curve:", "was not made smaller", "Not measured:"]
        {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
        let mut failed = report();
        failed.sizes[0].pictures = 0;
        failed.sizes[0].failures = vec!["no room".to_owned()];
        let text = document(&failed).markdown();
        assert!(text.contains("| 1024x1024 | failed |") && text.contains("- 1024x1024: no room"));
    }
}
