//! A report as a document for people: the machine, loading, and times. `tell_memory` has the rest.

use super::data::{LoadedPart, MachineReport, MeasuredLoad, MeasuredSize, ReportedPart, Spread};
use super::document::{Document, Figure, ReportBlock};
use super::phrases::{by_second, decimal, heading, name, seconds, table};
use super::published::{PUBLISHED_CARDS, PUBLISHED_GUIDANCE, PUBLISHED_STEPS};
use super::svg::{Bars, Series, bars};
use super::tell_memory;
use crate::moment;
use crate::spelling::memory;

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
    blocks.push(heading("What to use"));
    blocks.push(ReportBlock::List(report.advice.clone()));
    blocks.extend(machine_told(report));
    blocks.extend(loads_told(report));
    blocks.extend(sizes_told(report));
    blocks.extend(tell_memory::blocks(report));
    Document { title: format!("{} on {}", report.model.name, machine.device), blocks }
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
    let others =
        |load: f64| ("threads that wanted to run, the minute before", format!("{load:.1}"));
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
    let row = |load: &MeasuredLoad| {
        let rate = load.weights_bytes as f64 / (load.load_ms.max(1) as f64 / 1000.0);
        vec![
            load_kind(load).to_owned(),
            seconds(load.load_ms as f64),
            if load.weights_bytes > 0 { by_second(rate) } else { String::new() },
            load.first_picture_ms.map(|ms| seconds(ms as f64)).unwrap_or_default(),
        ]
    };
    let rows = report.loads.iter().map(row).collect();
    let head = ["load", "until ready", "of all files' bytes", "the first picture after it"];
    let mut blocks = vec![heading("Loading"), table(&head, rows)];
    let parts: Vec<Vec<String>> = report.loads.iter().flat_map(parts_of_load).collect();
    if !parts.is_empty() {
        let head = ["part", "load", "until it was there", "of its files' bytes"];
        blocks.push(table(&head, parts));
    }
    let mut beside = Vec::new();
    if let Some(disk) = &report.disk {
        beside.push(format!(
            "The disk gives {}, and the system's cache {}, read in one thread.",
            by_second(disk.cold_bytes_per_s),
            by_second(disk.warm_bytes_per_s)
        ));
    }
    if let Some(speed) = &report.device_speed {
        beside.push(format!(
            "Weights go from the host's memory to the device with {}, and while it computes with {}.",
            by_second(speed.read_bytes_per_s),
            by_second(speed.streamed_bytes_per_s)
        ));
    }
    let published: Vec<String> = PUBLISHED_CARDS
        .iter()
        .map(|card| match card.load_s {
            Some(load_s) => format!("{} {load_s:.0} s", card.name),
            None => format!("{}: out of memory", card.name),
        })
        .collect();
    beside.push(format!("Published of the model's web interface: {}.", published.join(", ")));
    blocks.push(ReportBlock::List(beside));
    blocks
}

fn load_kind(load: &MeasuredLoad) -> &'static str {
    if load.is_cold { "cold: from the disk" } else { "warm: as the cache had it" }
}

/// What is left to the load's time is opening the device, and measuring it once.
fn parts_of_load(load: &MeasuredLoad) -> Vec<Vec<String>> {
    let row = |part: &LoadedPart| {
        let rate = part.bytes as f64 / (part.load_ms.max(1) as f64 / 1000.0);
        let time = seconds(part.load_ms as f64);
        vec![part.part.clone(), load_kind(load).to_owned(), time, by_second(rate)]
    };
    load.parts.iter().map(row).collect()
}

fn sizes_told(report: &MachineReport) -> Vec<ReportBlock> {
    let mut blocks = vec![heading("Seconds a picture")];
    let rows = report.sizes.iter().map(size_row).collect();
    let head = [
        "size",
        "median",
        "from",
        "to",
        "text",
        "denoising",
        "VAE",
        "file, beside the next",
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
    blocks.push(ReportBlock::Paragraph(format!(
        "Beside it the published figures, with {PUBLISHED_STEPS} steps and guidance \
         {PUBLISHED_GUIDANCE} by their own words, which is {} forwards of the model; here it was \
         {} steps with guidance {}.",
        2 * PUBLISHED_STEPS,
        report.asked.steps,
        report.asked.guidance,
    )));
    let mut head = vec!["size".to_owned(), "here".to_owned()];
    head.extend(PUBLISHED_CARDS.iter().map(|card| card.name.to_owned()));
    let rows = report.sizes.iter().map(published_row).collect();
    blocks.push(ReportBlock::Table { head, rows });
    blocks.push(ReportBlock::Figure(beside_published(&report.sizes)));
    blocks
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
        size.rung.clone(),
    ]
}

fn published_row(size: &MeasuredSize) -> Vec<String> {
    let here = match size.pictures {
        0 => "failed".to_owned(),
        _ => seconds(size.total.median_ms),
    };
    let published =
        PUBLISHED_CARDS.iter().map(|card| match card.seconds_of((size.width, size.height)) {
            Some(seconds) => format!("{seconds} s"),
            None => "fails".to_owned(),
        });
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
            "| 1024x1024 | 4.00 s | fails | 18.7 s | 13.6 s | 8.2 s |",
            "| 8.00 GiB | streamed12/full/whole | 6.00 s | 2.00 s | 0 ms | 6.00 GiB | 30.00 s |",
            "| transformer | cold: from the disk | 10.00 s | 1.20 GB/s |",
            "| size | 8.00 GiB | 24.00 GiB (this one) |",
            "device/full/whole, 18.00 GiB, 4.00 s measured |",
            "| 1024x1024 | 900 | 0.250 |",
            "| cold: from the disk | 20.00 s | 1.00 GB/s | 5.00 s |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
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
