//! `zimaged model`: work on the model's files.

use clap::{Subcommand, ValueEnum};

use super::{Outcome, print, short};
use crate::config::Config;
use crate::engine::quantise_model;
use crate::ladder::Precision;

#[derive(Subcommand, Debug)]
pub(super) enum ModelCommand {
    /// Quantise the transformer once, so that it need not be done at each load
    ///
    /// Writes MODEL/transformer/zimaged-q8.gguf (or -q4), which the daemon takes where it stands.
    /// The pictures are the same with it and without.
    Quantize(QuantizeArgs),
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

#[derive(ValueEnum, Clone, Copy, Debug)]
enum LowerPrecision {
    Q8,
    Q4,
}

impl From<LowerPrecision> for Precision {
    fn from(precision: LowerPrecision) -> Precision {
        match precision {
            LowerPrecision::Q8 => Precision::Q8,
            LowerPrecision::Q4 => Precision::Q4,
        }
    }
}

pub(super) fn model(config: &Config, command: &ModelCommand, json: bool) -> Outcome {
    match command {
        ModelCommand::Quantize(args) => quantize(config, args, json),
    }
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

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
