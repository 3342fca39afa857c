//! `zimaged fit`: on which rung a picture would be rendered, and what it would need, asked without
//! a GPU.

use anyhow::anyhow;
use unicode_width::UnicodeWidthStr;

use super::fold::folded;
use super::table::{self, Give, TableColumn};
use super::{EXIT_DEGRADED, EXIT_NOT_DONE, Failure, Outcome, print, stderr};
use crate::config::units::{parse_bytes, size_hint};
use crate::config::{Config, ConfigError};
use crate::job::AskedPrecision;
use crate::job::spec::fields::sides;
use crate::ladder::Residency;
use crate::moment;
use crate::queue::{
    self, BusTime, FitAnswer, FitEstimate, FitQuestion, LeastMemory, Queue, QueueError, Seen,
    TABLE_CARDS_GIB,
};
use crate::spelling::memory;

#[derive(clap::Args, Debug)]
pub(super) struct FitArgs {
    /// The picture's size, like 1024x1024; the configured default unless given
    #[arg(value_parser = size)]
    size: Option<(u32, u32)>,
    /// The card's memory, like 6GiB; that of the device that was used last unless given
    #[arg(long, value_parser = vram)]
    vram: Option<u64>,
    /// For Z-Image-Turbo, whatever model is configured; its files are not needed
    #[arg(long, conflicts_with = "model")]
    turbo: bool,
    /// As if guidance were on: two forwards a step
    #[arg(long)]
    guided: bool,
    /// As if it began with a picture, which is encoded first
    #[arg(long)]
    from_picture: bool,
    /// As if the job asked for this precision: full or int8
    #[arg(long, value_parser = precision)]
    precision: Option<AskedPrecision>,
    /// All usual sizes of cards and pictures instead
    #[arg(long, conflicts_with_all = ["size", "vram"])]
    table: bool,
}

/// `1024x768`.
pub(super) fn size(text: &str) -> Result<(u32, u32), String> {
    sides(text).filter(|&(width, height)| width > 0 && height > 0).ok_or_else(|| {
        match text.to_lowercase().replace([' ', '*'], "") {
            small if small != text && sides(&small).is_some() => {
                format!("'{text}' is no size; use {small}")
            }
            _ => format!("'{text}' is no size like 1024x768"),
        }
    })
}

fn precision(text: &str) -> Result<AskedPrecision, String> {
    let known = [AskedPrecision::Full, AskedPrecision::Int8];
    let found = known.into_iter().find(|precision| precision.word() == text);
    found.ok_or_else(|| format!("'{text}' is no precision; use full or int8"))
}

fn vram(text: &str) -> Result<u64, String> {
    parse_bytes(text).filter(|bytes| *bytes > 0).ok_or_else(|| match size_hint(text) {
        Some(hint) => format!("'{text}' is no size: {hint}"),
        None => match text.parse::<u64>() {
            Ok(number) => format!("'{text}' has no unit; use {text}{}", unit_of(number)),
            Err(_) => format!("'{text}' is no size like 6GiB"),
        },
    })
}

/// What is meant by a card's memory without a unit: no card has so many of the larger one.
fn unit_of(number: u64) -> &'static str {
    match number {
        0..1000 => "GiB",
        1000..1_000_000 => "MiB",
        _ => "B",
    }
}

pub(super) async fn fit(config: &Config, args: &FitArgs, json: bool) -> Outcome {
    // Before the first start there is no history, and the answer stands without.
    let queue = Queue::open(config).await.ok();
    let store = queue.as_ref().map(Queue::store);
    let FitArgs { size, vram: device_bytes, turbo, guided, from_picture, precision, table } = *args;
    let question = FitQuestion { size, device_bytes, turbo, guided, from_picture, precision };
    let failure = |error| without_files(error, args);
    if table {
        let answers = queue::fit_table(config, store, &question).await.map_err(failure)?;
        let text = table_text(&answers, table::terminal_width());
        print::answer(&answers, &text, json)?;
        return Ok(0);
    }
    let answer = queue::fit(config, store, &question).await.map_err(failure)?;
    let mut text = text(&answer);
    // Who asks about the miniature has come to try it.
    if !answer.is_card && !answer.miniature && args.vram.is_none() {
        text += "\ncard    say how much memory it has, like: --vram 8GiB";
    }
    print::answer(&answer, &folded(&text), json)?;
    Ok(match answer.fits() {
        true if answer.is_degraded() => EXIT_DEGRADED,
        true => 0,
        false => EXIT_NOT_DONE,
    })
}

/// Whoever has not fetched the model yet asks first whether it fits.
fn without_files(error: QueueError, args: &FitArgs) -> Failure {
    let lacks_model = matches!(error, QueueError::Config(ConfigError::Model(_))) && !args.turbo;
    let failure = Failure::from(error);
    if !lacks_model {
        return failure;
    }
    let told = stderr::told(&failure.error);
    let error = anyhow!("{told}; for Z-Image-Turbo, without its files: zimaged fit --turbo");
    Failure { error, ..failure }
}

fn text(answer: &FitAnswer) -> String {
    let FitAnswer { width, height, rung, prediction, .. } = answer;
    let on_host = rung.residency == Residency::Host;
    let fits = match answer.missing_bytes {
        _ if on_host => "does not fit; the processor would take hours".to_owned(),
        0 => "fits".to_owned() + &reduced(answer),
        // What would do stands in a line of its own.
        _ => "does not fit".to_owned(),
    };
    let time = match &answer.seen {
        Some(Seen { device, model, mean_ms, pictures }) => {
            format!(
                "{:.1} s a picture, by the newest {pictures} of {model} on {device}",
                mean_ms / 1000.0
            )
        }
        None => estimated(answer),
    };
    let mut lines = vec![
        format!(
            "{width}x{height} on {}{} ({} usable{}): {fits}",
            if answer.is_card { "" } else { "a processor with " },
            memory(answer.device_bytes),
            memory(answer.usable_bytes),
            if answer.limit_bytes.is_some() { " by memory_limit" } else { "" }
        ),
        format!("model   {}", of_model(answer)),
        format!("rung    {rung}"),
        format!("        {}", rung.meaning()),
    ];
    // Nothing is predicted for the host.
    if !on_host {
        lines.push(format!(
            "peak    {} with the longest prompt (weights {}, text {}, denoising {}, VAE decoding {})",
            memory(prediction.peak_bytes()),
            memory(prediction.weights_bytes),
            memory(prediction.text_encode_bytes),
            memory(prediction.denoise_bytes),
            memory(prediction.vae_decode_bytes),
        ));
    }
    if answer.host_bytes > 0 {
        lines.push(format!(
            "host    {} of free memory to stream from; slower with less",
            memory(answer.host_bytes)
        ));
    }
    lines.extend(least(answer));
    lines.extend(as_asked(answer));
    lines.push(format!("time    {time}"));
    lines.join("\n")
}

/// What would do where it does not fit.
fn least(answer: &FitAnswer) -> Option<String> {
    let LeastMemory { usable_bytes, device_bytes } = answer.least?;
    let usable = memory(usable_bytes);
    Some(match device_bytes {
        Some(bytes) => format!(
            "needs   a device of {} or more: {usable} for the picture, the rest is the driver's or \
             left to others ([device] reserve)",
            memory(bytes)
        ),
        None => format!("needs   a memory_limit of {usable} or more in daemon.toml"),
    })
}

/// What the picture would need in the size and the steps that were asked for.
fn as_asked(answer: &FitAnswer) -> Option<String> {
    let FitAnswer { width, height, steps, rung, .. } = answer;
    let LeastMemory { usable_bytes, device_bytes } = answer.as_asked?;
    let asked = match rung.steps == *steps {
        true => format!("{width}x{height}"),
        false => format!("{width}x{height} with {steps} steps"),
    };
    let of = match device_bytes {
        Some(bytes) => format!("a device of {} or more", memory(bytes)),
        None => "a memory_limit of so much in daemon.toml".to_owned(),
    };
    Some(format!("asked   {asked} would need {}: {of}", memory(usable_bytes)))
}

/// The time where no picture tells it.
fn estimated(answer: &FitAnswer) -> String {
    match &answer.estimate {
        Some(FitEstimate { device, time }) => format!(
            "about {} a picture, estimated for {device}: nothing was rendered on this rung yet",
            moment::estimated(time.total_ms)
        ),
        None => {
            let device = if answer.is_card { "such a card" } else { "this machine" };
            format!(
                "{}known once {device} has been measured: its first picture does it, or zimaged \
                 report there",
                answer.bus.as_ref().map_or(String::new(), at_least)
            )
        }
    }
}

/// The bound that the bus sets, marked as one.
fn at_least(bus: &BusTime) -> String {
    let BusTime { streamed_bytes, assumed_bytes_per_s, least_ms } = *bus;
    format!(
        "at least {} a picture, because {} come over the bus (at {} GB/s: PCIe 4.0 x16, assumed); ",
        moment::estimated(least_ms),
        memory(streamed_bytes),
        assumed_bytes_per_s / 1_000_000_000
    )
}

/// The model's name; of the miniature, that it is not the model that people mean.
fn of_model(answer: &FitAnswer) -> String {
    match answer.miniature {
        true => {
            format!(
                "{}, the miniature that is configured; for Z-Image-Turbo: --turbo",
                answer.model
            )
        }
        false => answer.model.clone(),
    }
}

/// What is made where it is less than what was asked.
fn reduced(answer: &FitAnswer) -> String {
    let FitAnswer { width, height, steps, rung, .. } = answer;
    let mut less = Vec::new();
    if (rung.width, rung.height) != (*width, *height) {
        less.push(format!("smaller, as {}x{}", rung.width, rung.height));
    }
    if rung.steps != *steps {
        less.push(format!("with {} steps instead of {steps}", rung.steps));
    }
    if less.is_empty() { String::new() } else { format!(", but only {}", less.join(" and ")) }
}

fn table_text(answers: &[FitAnswer], width_max: Option<usize>) -> String {
    let Some(first) = answers.first() else { return String::new() };
    let limit =
        answers.iter().find_map(|answer| answer.limit_bytes).map_or(String::new(), |limit| {
            format!("limit   {}, by memory_limit in daemon.toml\n", memory(limit))
        });
    let fits = |shown: &String| {
        width_max.is_none_or(|width_max| shown.lines().all(|line| line.width() <= width_max))
    };
    let shown =
        (1..=TABLE_CARDS_GIB.len()).rev().map(|abreast| tables(answers, abreast)).find(fits);
    let shown = shown.unwrap_or_else(|| tables(answers, 1));
    format!("{}\n{limit}\n{shown}", folded(&format!("model   {}", of_model(first))))
}

/// The cards, so many of them abreast, one table after the other.
fn tables(answers: &[FitAnswer], abreast: usize) -> String {
    let of_cards = |from: usize| {
        let cards = &TABLE_CARDS_GIB[from..TABLE_CARDS_GIB.len().min(from + abreast)];
        let heads: Vec<String> = cards.iter().map(|gib| format!("{gib} GiB")).collect();
        let heads = std::iter::once("picture").chain(heads.iter().map(String::as_str));
        let columns: Vec<TableColumn> = heads.map(|head| (head, Give::Nothing)).collect();
        let row = |row: &[FitAnswer]| {
            let size = format!("{}x{}", row[0].width, row[0].height);
            std::iter::once(size).chain(row.iter().skip(from).take(cards.len()).map(cell)).collect()
        };
        let rows: Vec<Vec<String>> = answers.chunks(TABLE_CARDS_GIB.len()).map(row).collect();
        table::table(&columns, &rows, None)
    };
    let parts = (0..TABLE_CARDS_GIB.len()).step_by(abreast).map(of_cards);
    parts.collect::<Vec<_>>().join("\n\n")
}

/// How it is run; the size only where it is not the one asked for.
fn cell(answer: &FitAnswer) -> String {
    let rung = answer.rung.to_string();
    let (how, what) = rung.split_once(' ').unwrap_or((&rung, ""));
    let asked = (answer.rung.width, answer.rung.height) == (answer.width, answer.height);
    let size = what.split(' ').next().unwrap_or_default();
    let short = if answer.fits() { "" } else { " (too small)" };
    if asked { format!("{how}{short}") } else { format!("{how} {size}{short}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_numbers_and_memory_has_a_unit() {
        assert_eq!(size("1024x768"), Ok((1024, 768)));
        assert!(["1024", "0x5", "ax5", "5x"].iter().all(|wrong| size(wrong).is_err()));
        assert_eq!(precision("int8"), Ok(AskedPrecision::Int8));
        assert_eq!(precision("fp8"), Err("'fp8' is no precision; use full or int8".to_owned()));
        assert_eq!(vram("6GiB"), Ok(6 << 30));
        assert!(["6", "0GiB", "much"].iter().all(|wrong| vram(wrong).is_err()));
        // evening F14
        for (bare, right) in [("8", "8GiB"), ("8000", "8000MiB"), ("8589934592", "8589934592B")] {
            assert_eq!(vram(bare), Err(format!("'{bare}' has no unit; use {right}")));
        }
        assert_eq!(size("1024X768"), Err("'1024X768' is no size; use 1024x768".to_owned()));
    }
}
