//! `zimaged doctor`: everything that a queue needs, looked at without changing it, while a daemon
//! runs or not.
//!
//! Each part of the program is asked what it would find itself at a start; nothing is decided here
//! but how bad that is.

mod database;
mod device;
mod dropped;
mod folders;
mod hooks;
mod machine;
mod models;
mod pictures;
mod port;

use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError};
use crate::engine::DeviceChoice;
use crate::problem::printable_lines;
use crate::spelling::spelled_by_serde;

/// What was found, in the order in which a start needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// Whether nothing is wrong; warnings may be there.
    pub healthy: bool,
    /// What was looked at. Where the configuration cannot be read, only what needs none.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// What it is about.
    pub about: Aspect,
    /// How it is.
    pub verdict: Verdict,
    /// What there is; where that is wrong, also how to mend it.
    pub told: String,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    Configuration,
    Folders,
    Disk,
    /// Whether the system tells of files that are dropped.
    Watching,
    /// What lies in the jobs folder and is no job.
    Jobs,
    Database,
    /// The pictures of the history in the output folder.
    Pictures,
    Daemon,
    /// The programs that are told of renders that have ended.
    Hooks,
    /// Where the daemon answers over HTTP.
    Port,
    Model,
    /// The card, its driver and CUDA's libraries, or the processor.
    Device,
    /// With the time zone.
    Clock,
}

spelled_by_serde!(Aspect);

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// The daemon works, but not as it could, or not for long.
    Warning,
    /// The daemon does not start, or renders nothing, until it is mended.
    Wrong,
}

spelled_by_serde!(Verdict);

impl Finding {
    fn new(about: Aspect, verdict: Verdict, told: impl Into<String>) -> Finding {
        Finding { about, verdict, told: printable_lines(&told.into()) }
    }

    fn ok(about: Aspect, told: impl Into<String>) -> Finding {
        Finding::new(about, Verdict::Ok, told)
    }

    fn warning(about: Aspect, told: impl Into<String>) -> Finding {
        Finding::new(about, Verdict::Warning, told)
    }

    fn wrong(about: Aspect, told: impl Into<String>) -> Finding {
        Finding::new(about, Verdict::Wrong, told)
    }
}

/// Looks at everything. Nothing is made or changed but what any reader of an SQLite database makes
/// beside it.
pub async fn examine(config: Result<&Config, &ConfigError>) -> Diagnosis {
    let mut findings = match config {
        Ok(config) => of_queue(config).await,
        Err(error) => vec![Finding::wrong(Aspect::Configuration, error.to_string())],
    };
    findings.push(device::card(config.map_or(DeviceChoice::Auto, |config| config.device)));
    findings.extend(config.ok().and_then(device::ceilings));
    findings.extend(machine::clock());
    let healthy = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    Diagnosis { healthy, findings }
}

async fn of_queue(config: &Config) -> Vec<Finding> {
    let read = match &config.file {
        Some(file) => file.display().to_string(),
        None => format!("all defaults, for the queue whose state is {}", config.state.display()),
    };
    let mut findings = vec![Finding::ok(Aspect::Configuration, read)];
    findings.extend(folders::folders(config));
    findings.extend(folders::disks(config));
    findings.push(machine::watching(&config.jobs));
    findings.extend(dropped::dropped(config).await);
    findings.extend(database::database(config).await);
    findings.extend(pictures::pictures(config).await);
    findings.extend(database::daemon(config));
    findings.extend(database::obstacle(config).await);
    findings.extend(hooks::hooks(&config.hooks));
    findings.extend(port::port(config).await);
    findings.extend(models::models(config).await);
    findings
}
