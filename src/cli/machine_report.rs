//! `zimaged report`: what this machine does with the model, measured and written down.

use std::path::PathBuf;

use super::{EXIT_TEMPFAIL, Outcome, fit, print, short, signals, stderr};
use crate::config::Config;
use crate::report::{self, ReportQuestion, WrittenReport};

#[derive(clap::Args, Debug)]
pub(super) struct ReportArgs {
    /// Small sizes, one picture of each, few limits: a minute on a fast card
    #[arg(long, conflicts_with = "compare")]
    quick: bool,
    /// The folder that the report is written into
    #[arg(long, value_name = "FOLDER", default_value = "report")]
    out: PathBuf,
    /// A size to measure, like 1024x768, in place of the usual ones; more than once for several
    #[arg(long = "size", value_parser = fit::size, value_name = "SIZE", conflicts_with = "compare")]
    sizes: Vec<(u32, u32)>,
    /// Steps of each picture; the model's own unless given (the published report has 40)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100), conflicts_with = "compare")]
    steps: Option<u32>,
    /// Guidance of each picture; the model's own unless given (the published report has 7.5)
    #[arg(long, conflicts_with = "compare")]
    guidance: Option<f64>,
    /// Put two reports side by side: the report.json of each
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"])]
    compare: Option<Vec<PathBuf>>,
}

pub(super) async fn report(config: &Config, args: &ReportArgs, json: bool) -> Outcome {
    let folder = std::path::absolute(&args.out)?;
    if let Some([left, right]) = args.compare.as_deref() {
        let (left, right) = (report::read(left)?, report::read(right)?);
        return told(&report::write_comparison(&left, &right, &folder)?, json);
    }
    let ReportArgs { quick: is_quick, steps, guidance, .. } = *args;
    let sizes = args.sizes.clone();
    let question = ReportQuestion { is_quick, sizes, steps, guidance, folder };
    let stop = signals::stop()?;
    let say = |step: &str| {
        stderr::remark(&format!("report: {step}"));
    };
    let stopping = stop.clone();
    tokio::spawn(async move {
        stopping.cancelled().await;
        stderr::remark("report: stopping, within some seconds; once more to end at once");
    });
    let measured = report::measure(config, &question, &say, &stop).await?;
    let code = told(&report::write(&measured, &question.folder)?, json)?;
    if stop.is_cancelled() {
        stderr::tell("report: stopped; what was measured before is written, and called partial");
        return Ok(EXIT_TEMPFAIL);
    }
    Ok(code)
}

fn told(written: &WrittenReport, json: bool) -> Outcome {
    let text = format!("{}: {}", short(&written.folder), written.files.join(", "));
    print::answer(written, &text, json)?;
    Ok(0)
}
