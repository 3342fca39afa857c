//! `zimaged fit`: on which rung a picture would be rendered, and what it would need, asked without
//! a GPU.

use anyhow::anyhow;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Failure, Outcome, open_store, print};
use crate::config::units::parse_bytes;
use crate::config::{Config, ConfigError};
use crate::daemon;
use crate::engine::ModelDescription;
use crate::engine::predictor::Predictor;
use crate::engine::{Backend, DeviceChoice, mini};
use crate::job::Render;
use crate::job::spec::fields::sides;
use crate::ladder::{Residency, Rung};
use crate::planner::{Allowance, Corrections, Plan, Prediction};
use crate::store::{Seen, Store, WorkerRow};

/// Sizes of cards in the table, GiB.
const CARDS_GIB: [u64; 5] = [6, 8, 12, 16, 24];

/// Sizes of pictures in the table.
const SIZES: [(u32, u32); 6] =
    [(512, 512), (768, 768), (1024, 576), (576, 1024), (1024, 1024), (1536, 1536)];

/// What a card spends on the driver's context before anybody asks it for memory.
const CONTEXT_BYTES: u64 = 400 << 20;

/// As long as a prompt counts: what is said here holds for every prompt.
const PROMPT_BYTES: usize = 512;

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
    /// All usual sizes of cards and pictures instead
    #[arg(long, conflicts_with_all = ["size", "vram"])]
    table: bool,
}

/// `1024x768`.
fn size(text: &str) -> Result<(u32, u32), String> {
    sides(text)
        .filter(|&(width, height)| width > 0 && height > 0)
        .ok_or_else(|| format!("'{text}' is no size like 1024x768"))
}

fn vram(text: &str) -> Result<u64, String> {
    parse_bytes(text)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("'{text}' is no size like 6GiB"))
}

/// What is answered for one size of picture on one device.
#[derive(Serialize)]
struct Answer {
    model: String,
    /// As asked; the rung has what is made.
    width: u32,
    height: u32,
    steps: u32,
    device_bytes: u64,
    usable_bytes: u64,
    rung: Rung,
    prediction: Prediction,
    /// 0 where it fits.
    missing_bytes: u64,
    /// What the host should have free to stream layers from; 0 where none are.
    host_bytes: u64,
    /// Pictures rendered on this rung.
    seen: Option<Seen>,
}

/// What a plan is made for, and from.
struct Asked<'a> {
    config: &'a Config,
    store: Option<&'a Store>,
    model: ModelDescription,
    predictor: Predictor,
    corrections: Corrections,
    render: Render,
    is_card: bool,
    /// The configured one; without its limit where a card is made up.
    allowance: Allowance,
}

pub(super) async fn fit(config: &Config, args: &FitArgs, json: bool) -> Outcome {
    let store = open_store(config).await.ok();
    let worker = match &store {
        Some(store) => store.last_worker().await?,
        None => None,
    };
    let (device_bytes, backend) = device(config, args, worker.as_ref())?;
    let (model, predictor) = model(config, args, backend)?;
    let is_card = backend == Backend::Cuda;
    let evidence = match (&store, &worker) {
        // What another kind of device measured says nothing of this one.
        (Some(store), Some(worker))
            if worker.model_name == model.name && is_on_card(worker) == is_card =>
        {
            store.evidence(&worker.model_hash, &worker.device).await?
        }
        _ => Vec::new(),
    };
    let rules = config.rules(&model, TimeZone::system())?;
    let mut render = rules.defaults;
    render.recipe.prompt = " ".repeat(PROMPT_BYTES);
    if args.guided {
        render.recipe.guidance = 1.0;
    }
    let asked = Asked {
        config,
        store: store.as_ref(),
        model,
        predictor,
        corrections: Corrections::from(&evidence),
        render,
        is_card,
        allowance: allowance(config, args),
    };
    if args.table {
        return table(&asked, json).await;
    }
    let size = args.size.unwrap_or((asked.render.width, asked.render.height));
    let answer = asked.answer(size, device_bytes).await?;
    print::answer(&answer, &text(&answer), json)?;
    Ok(0)
}

/// The model that is asked about, and what predicts for it.
fn model(
    config: &Config,
    args: &FitArgs,
    backend: Backend,
) -> Result<(ModelDescription, Predictor), Failure> {
    if args.turbo {
        return Ok((ModelDescription::turbo(), Predictor::turbo(backend)));
    }
    let model = daemon::model(config)?;
    let predictor = Predictor::new(config.engine, &config.model_folder()?, backend)
        .map_err(ConfigError::Model)?;
    Ok((model, predictor))
}

/// The device's memory, where it is known (the table has its own), and its way to compute: as
/// given, or as the last worker had it.
fn device(
    config: &Config,
    args: &FitArgs,
    worker: Option<&WorkerRow>,
) -> Result<(Option<u64>, Backend), Failure> {
    let given = args.vram.is_some() || args.table;
    let on_cpu = match worker {
        _ if config.device == DeviceChoice::Cpu => true,
        Some(worker) if !given => !is_on_card(worker),
        _ => false,
    };
    let backend = if on_cpu { Backend::this_cpu() } else { Backend::Cuda };
    let last = || worker.map(|worker| worker.total_bytes.unsigned_abs());
    let device_bytes = args.vram.or_else(last);
    if device_bytes.or(config.memory_limit_bytes).is_none() && !args.table {
        return Err(anyhow!(
            "no device was used yet; say how much memory it has, like --vram 6GiB"
        )
        .into());
    }
    Ok((device_bytes, backend))
}

fn is_on_card(worker: &WorkerRow) -> bool {
    !worker.device.starts_with("cpu")
}

/// The configured limit does not count for a device that is made up.
fn allowance(config: &Config, args: &FitArgs) -> Allowance {
    let allowance = config.allowance();
    if args.vram.is_some() || args.table {
        Allowance { limit_bytes: None, ..allowance }
    } else {
        allowance
    }
}

impl Asked<'_> {
    /// For a device of `device_bytes`; where nobody knows how large it is, the configured limit
    /// counts alone.
    async fn answer(
        &self,
        (width, height): (u32, u32),
        device_bytes: Option<u64>,
    ) -> Result<Answer, Failure> {
        let usable_bytes = self.usable_bytes(device_bytes);
        let device_bytes = device_bytes.unwrap_or(usable_bytes);
        let Plan { rung, prediction, missing_bytes } = self.plan((width, height), usable_bytes)?;
        let seen = match self.store {
            Some(store) => store.seen_on(&rung, &self.model.name).await?,
            None => None,
        };
        let host_bytes = self.predictor.host_bytes(&rung);
        let model = self.model.name.clone();
        Ok(Answer {
            model,
            width,
            height,
            steps: self.render.steps,
            device_bytes,
            usable_bytes,
            rung,
            prediction,
            missing_bytes,
            host_bytes,
            seen,
        })
    }

    /// What is left of a device for us.
    fn usable_bytes(&self, device_bytes: Option<u64>) -> u64 {
        let context_bytes = if self.is_card { CONTEXT_BYTES } else { 0 };
        let available_bytes = device_bytes.map(|bytes| bytes.saturating_sub(context_bytes));
        self.allowance.budget_bytes(available_bytes, device_bytes.unwrap_or(0)).unwrap_or(0)
    }

    fn plan(&self, (width, height): (u32, u32), usable_bytes: u64) -> Result<Plan, Failure> {
        let capabilities = self
            .predictor
            .capabilities()
            .ok_or_else(|| anyhow!("the scripted engine needs no memory"))?;
        let unit = capabilities.granularity;
        if !width.is_multiple_of(unit) || !height.is_multiple_of(unit) {
            return Err(anyhow!("{width}x{height}: sides must be multiples of {unit}").into());
        }
        let min_side = self.render.min_side.min(width).min(height);
        let render = Render { width, height, min_side, ..self.render.clone() };
        let prefer = self.config.prefer;
        let planner = self.predictor.planner(
            &render,
            prefer,
            &capabilities,
            &self.corrections,
            Some(usable_bytes),
        );
        Ok(planner.first().ok_or_else(|| anyhow!("the engine can do nothing"))?)
    }
}

fn text(answer: &Answer) -> String {
    let Answer { width, height, rung, prediction, .. } = answer;
    let on_host = rung.residency == Residency::Host;
    let verdict = match answer.missing_bytes {
        _ if on_host => "does not fit; the processor would take hours".to_owned(),
        0 => "fits".to_owned() + &reduced(answer),
        missing => format!("does not fit: {} are missing", gib(missing)),
    };
    let time = match &answer.seen {
        Some(Seen { device, model, mean_ms, pictures }) => {
            format!(
                "{:.1} s a picture, the mean of {pictures} of {model} on {device}",
                mean_ms / 1000.0
            )
        }
        None => "nothing was rendered on this rung yet".to_owned(),
    };
    let mut lines = vec![
        format!(
            "{width}x{height} on {} ({} usable): {verdict}",
            gib(answer.device_bytes),
            gib(answer.usable_bytes)
        ),
        format!("model   {}", of_model(&answer.model)),
        format!("rung    {rung}"),
    ];
    // Nothing is predicted for the host.
    if !on_host {
        lines.push(format!(
            "peak    {} (weights {}, text {}, denoising {}, VAE decoding {})",
            gib(prediction.peak_bytes()),
            gib(prediction.weights_bytes),
            gib(prediction.text_encode_bytes),
            gib(prediction.denoise_bytes),
            gib(prediction.vae_decode_bytes),
        ));
    }
    if answer.host_bytes > 0 {
        lines.push(format!(
            "host    {} of free memory to stream from; slower with less",
            gib(answer.host_bytes)
        ));
    }
    lines.push(format!("time    {time}"));
    lines.join("\n")
}

/// The model's name; of the miniature, that it is not the model that people mean.
fn of_model(name: &str) -> String {
    if name == mini::NAME {
        format!("{name}, the miniature that is configured; for Z-Image-Turbo: --turbo")
    } else {
        name.to_owned()
    }
}

/// What is made where it is less than what was asked.
fn reduced(answer: &Answer) -> String {
    let Answer { width, height, steps, rung, .. } = answer;
    let mut less = Vec::new();
    if (rung.width, rung.height) != (*width, *height) {
        less.push(format!("smaller, as {}x{}", rung.width, rung.height));
    }
    if rung.steps != *steps {
        less.push(format!("with {} steps instead of {steps}", rung.steps));
    }
    if less.is_empty() { String::new() } else { format!(", but only {}", less.join(" and ")) }
}

fn gib(bytes: u64) -> String {
    if bytes < 1 << 30 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
    }
}

async fn table(asked: &Asked<'_>, json: bool) -> Outcome {
    let unit = asked.predictor.capabilities().map_or(1, |capabilities| capabilities.granularity);
    let mut answers = Vec::new();
    for size in SIZES
        .into_iter()
        .filter(|(width, height)| width.is_multiple_of(unit) && height.is_multiple_of(unit))
    {
        for card_gib in CARDS_GIB {
            answers.push(asked.answer(size, Some(card_gib << 30)).await?);
        }
    }
    let rows = answers.chunks(CARDS_GIB.len()).map(|row| {
        let size = format!("{}x{}", row[0].width, row[0].height);
        std::iter::once(size).chain(row.iter().map(cell)).collect()
    });
    let heads: Vec<String> = CARDS_GIB.iter().map(|card_gib| format!("{card_gib} GiB")).collect();
    let heads: Vec<&str> =
        std::iter::once("picture").chain(heads.iter().map(String::as_str)).collect();
    let text = format!("model   {}\n\n{}", of_model(&asked.model.name), print::table(&heads, rows));
    print::answer(&answers, &text, json)?;
    Ok(0)
}

/// How it is run; the size only where it is not the one asked for.
fn cell(answer: &Answer) -> String {
    let rung = answer.rung.to_string();
    let (how, what) = rung.split_once(' ').unwrap_or((&rung, ""));
    let asked = (answer.rung.width, answer.rung.height) == (answer.width, answer.height);
    let size = what.split(' ').next().unwrap_or_default();
    let short = if answer.missing_bytes > 0 || answer.rung.residency == Residency::Host {
        " (too small)"
    } else {
        ""
    };
    if asked { format!("{how}{short}") } else { format!("{how} {size}{short}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_numbers_and_memory_has_a_unit() {
        assert_eq!(size("1024x768"), Ok((1024, 768)));
        assert!(["1024", "0x5", "ax5", "5x"].iter().all(|wrong| size(wrong).is_err()));
        assert_eq!(vram("6GiB"), Ok(6 << 30));
        assert!(["6", "0GiB", "much"].iter().all(|wrong| vram(wrong).is_err()));
    }

    #[test]
    fn bytes_are_read_by_people() {
        assert_eq!([gib(5 << 20), gib(3 << 29)], ["5 MiB", "1.50 GiB"]);
    }
}
