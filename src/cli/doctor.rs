//! `zimaged doctor`.

use super::fold::folded;
use super::{EXIT_FAILED, Outcome, print};
use crate::config::{Config, ConfigError};
use crate::doctor::{Diagnosis, Finding, Verdict, examine};

/// The exit code says whether something is wrong.
pub(super) fn doctor(config: &Result<Config, ConfigError>, json: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let diagnosis = runtime.block_on(examine(config.as_ref()));
    print::answer(&diagnosis, &folded(&told(&diagnosis)), json)?;
    Ok(if diagnosis.healthy { 0 } else { EXIT_FAILED })
}

fn told(diagnosis: &Diagnosis) -> String {
    let mut lines: Vec<String> = diagnosis.findings.iter().map(line).collect();
    let number = |verdict| {
        diagnosis.findings.iter().filter(|finding| finding.verdict == verdict).count() as u64
    };
    let warnings = print::count(number(Verdict::Warning), "warning");
    lines.push(match number(Verdict::Wrong) {
        0 => format!("nothing is wrong, {warnings}"),
        1 => format!("one thing is wrong, {warnings}"),
        wrong => format!("{wrong} things are wrong, {warnings}"),
    });
    lines.join("\n")
}

fn line(finding: &Finding) -> String {
    let Finding { about, verdict, told } = finding;
    let verdict = match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Wrong => "WRONG",
    };
    let told = told.trim_end().replace('\n', "\n    ");
    format!("{verdict:<8} {:<14} {told}", about.to_string())
}
