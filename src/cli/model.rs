//! `zimaged model`: work on the model's files.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::new_model::{ConvertArgs, LowerPrecision, SynthArgs};
use super::print::{count, mebibytes};
use super::{Outcome, fetch, models, new_model, print, short};
use crate::config::{Config, ConfigError};
use crate::engine::mini::ModelTexts;
use crate::engine::z_image::inspect::{Inspected, InspectedModel, InspectedPart};
use crate::engine::z_image::lora::inspect::InspectedLora;
use crate::engine::{ModelPlace, inspect_lora, inspect_model, quantise_model};
use crate::queue::model_called;

#[derive(Subcommand, Debug)]
pub(super) enum ModelCommand {
    /// Fetch a model from Hugging Face or ModelScope, or go on with it
    ///
    /// Into models/ beside daemon.toml. Files that are there, or in the caches of other programs,
    /// do not come again. Everything is compared with the hub's hashes. Whatever ends it, the same
    /// command goes on from there.
    Fetch(fetch::FetchArgs),
    /// Say what a file or folder holds, and whether it can be rendered with
    ///
    /// Only headers are read. Without a word it is the one of [model].
    Inspect(InspectArgs),
    /// List the models: those of daemon.toml, and what lies in models/
    List,
    /// Read all of a model: hashes against what was fetched, and whether every value is a number
    ///
    /// Ends with 65 where something is damaged.
    Verify(models::VerifyArgs),
    /// Remove what was fetched of a model
    ///
    /// Files that other programs have, too, stay theirs. What renders wait for stays without
    /// --force.
    Remove(models::RemoveArgs),
    /// Quantise the transformer once, so that it need not be done at each load
    ///
    /// Writes MODEL/transformer/zimaged-q8.gguf (or -q4), which the daemon takes where it stands.
    /// The pictures are the same with it and without.
    Quantize(QuantizeArgs),
    /// Write a model in the hub's layout, whatever layout and format it has
    ///
    /// Into a new folder, which is there whole or not at all; it is read through before. In bf16 a
    /// model of bf16 stays the same to the bit; with --as f32 every one does.
    Convert(ConvertArgs),
    /// Write a model of random weights, to try and to measure with
    ///
    /// Its pictures are noise; files, memory and times are those of a model of these dimensions.
    Synth(SynthArgs),
}

#[derive(clap::Args, Debug)]
pub(super) struct InspectArgs {
    /// A name in daemon.toml, a folder in models/, a file of weights, or a folder
    #[arg(value_name = "NAME")]
    what: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub(super) struct QuantizeArgs {
    /// 8.5 or 4.5 bits a weight
    #[arg(long, value_enum, default_value = "q8")]
    precision: LowerPrecision,
    /// Write the file also when one made from the same weights is there
    #[arg(long)]
    force: bool,
}

impl ModelCommand {
    /// Whether the command itself says which files it is about, so that no configuration is needed.
    pub(super) fn names_files(&self) -> bool {
        match self {
            ModelCommand::Fetch(_) | ModelCommand::List | ModelCommand::Remove(_) => true,
            ModelCommand::Inspect(InspectArgs { what }) => what.is_some(),
            ModelCommand::Verify(args) => args.names_files(),
            ModelCommand::Convert(args) => args.names_files(),
            ModelCommand::Synth(_) => true,
            ModelCommand::Quantize(_) => false,
        }
    }
}

pub(super) async fn model(config: &Config, command: &ModelCommand, json: bool) -> Outcome {
    match command {
        ModelCommand::Fetch(args) => fetch::fetch(config, args, json).await,
        ModelCommand::List => models::list(config, json).await,
        ModelCommand::Verify(args) => models::verify(config, args, json),
        ModelCommand::Remove(args) => models::remove(config, args, json).await,
        ModelCommand::Inspect(args) => inspect(config, args, json),
        ModelCommand::Quantize(args) => quantize(config, args, json),
        ModelCommand::Convert(args) => new_model::convert(config, args, json),
        ModelCommand::Synth(args) => new_model::synth(args, json),
    }
}

fn inspect(config: &Config, args: &InspectArgs, json: bool) -> Outcome {
    let place = match &args.what {
        // A path need not be text, and then it is no name.
        Some(path) => match path.to_str() {
            Some(what) => model_called(config, Some(what))?,
            None => ModelPlace::at(&std::path::absolute(path)?),
        },
        None => config.model_place()?,
    };
    let texts = config.model_texts().ok();
    let model = texts.as_ref().map(ModelTexts::place);
    let lora = inspect_lora(&place.path, model.as_ref()).map_err(ConfigError::from)?;
    if let Some(lora) = lora {
        print::answer(&lora, &told_lora(&place.path, &lora), json)?;
        return Ok(0);
    }
    let inspected = inspect_model(&place).map_err(ConfigError::from)?;
    print::answer(&inspected, &told(&inspected), json)?;
    Ok(0)
}

/// What a LoRA changes, and whether it can be used.
fn told_lora(path: &Path, lora: &InspectedLora) -> String {
    let kinds: Vec<String> =
        lora.kinds.iter().map(|kind| format!("{} ({})", kind.name, kind.modules)).collect();
    let InspectedLora { rank, modules_hit, modules, keys, unknown, .. } = lora;
    let mut lines = vec![short(path)];
    if *keys > 0 {
        lines.push(format!("  {}, rank {rank}", kinds.join(", ")));
        lines.push(format!("  changes {modules_hit} of {modules} modules; {keys} keys"));
    }
    if *unknown > 0 {
        let more = if *unknown > lora.unknown_keys.len() { ", ..." } else { "" };
        let named = lora.unknown_keys.join(", ");
        lines.push(format!("  unknown: {}: {named}{more}", count(*unknown as u64, "key")));
    }
    lines.extend(lora.fits.iter().map(|model| format!("usable with {model}")));
    lines.extend(lora.problem.iter().map(|problem| format!("not usable: {problem}")));
    lines.join("\n")
}

/// What was found, part by part, and what it is together.
fn told(inspected: &Inspected) -> String {
    let Inspected { path, parts, unknown, unknown_names, model, problem } = inspected;
    let mut lines = vec![short(path)];
    lines.extend(parts.iter().map(part));
    if *unknown > 0 {
        let (names, more) = (unknown_names.join(", "), *unknown > unknown_names.len());
        let more = if more { ", ..." } else { "" };
        lines.push(format!("  of no part: {}: {names}{more}", count(*unknown as u64, "tensor")));
    }
    if let Some(model) = model {
        let InspectedModel { name, kind, steps, guidance, places, quantised } = model;
        let kind = kind.title();
        lines.push(format!("usable as {name}: {kind}, {steps} steps, guidance {guidance}"));
        let words = ["transformer", "text encoder", "VAE"];
        let places = words.iter().zip(places);
        lines.extend(places.map(|(word, place)| format!("  {word}: {}", short(place))));
        lines.extend(quantised.iter().map(|path| format!("  quantised: {}", short(path))));
    }
    lines.extend(problem.iter().map(|problem| format!("not usable: {problem}")));
    lines.join("\n")
}

fn part(part: &InspectedPart) -> String {
    let InspectedPart { part, dimensions, tensors, bytes, forms, .. } = part;
    let forms: Vec<String> =
        forms.iter().map(|form| format!("{} {}", form.name, mebibytes(form.bytes))).collect();
    let tensors = count(*tensors as u64, "tensor");
    format!("  {part}: {dimensions}; {tensors}, {} ({})", mebibytes(*bytes), forms.join(", "))
}

fn quantize(config: &Config, args: &QuantizeArgs, json: bool) -> Outcome {
    let model = config.model_place()?;
    let written =
        quantise_model(&model, args.precision.into(), args.force).map_err(anyhow::Error::msg)?;
    let [before, after] = [written.before_bytes, written.after_bytes].map(mebibytes);
    let there = if written.fresh { "" } else { "; it was there already (--force makes it again)" };
    let text = format!(
        "{}: {} matrices, {before} before, {after} now{there}",
        short(&written.path),
        written.matrices
    );
    print::answer(&written, &text, json)?;
    Ok(0)
}
