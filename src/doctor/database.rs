//! The database as it lies there, and the daemon as it tells of itself.

use jiff::tz::TimeZone;

use super::{Aspect, Finding};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::moment;
use crate::queue::{
    self, JobsFolder, Obstacle, Queue, QueueStatus, accepted_ids, begun_anew, check_present,
    saved_database, status_of,
};
use crate::spelling::count;
use crate::status::{Status, WorkerStatus};
use crate::store::{Contents, NO_DATABASE, Store, StoreError};

/// A row that is so much newer than the clock was written before the clock was set back.
const AHEAD_MS: i64 = 60 * 60 * 1000;

/// Whether the database is there, whole, of our schema, and says nothing that cannot be.
pub(super) async fn database(config: &Config) -> Vec<Finding> {
    let path = config.database_path();
    if let Err(lost) = check_present(config) {
        return vec![Finding::wrong(Aspect::Database, lost.to_string())];
    }
    if Store::is_missing(&path) {
        return vec![Finding::ok(Aspect::Database, NO_DATABASE)];
    }
    match examined(config).await {
        Ok(findings) => findings,
        Err(error) if error.may_pass_for_a_read() => {
            vec![Finding::warning(Aspect::Database, error.to_string())]
        }
        Err(error) => vec![Finding::wrong(Aspect::Database, error.to_string())],
    }
}

async fn examined(config: &Config) -> Result<Vec<Finding>, StoreError> {
    let queue = Queue::open(config).await?;
    let contents = queue.store().contents().await?;
    let mut findings: Vec<Finding> = queue
        .store()
        .faults()
        .await?
        .into_iter()
        .map(|told| Finding::warning(Aspect::Database, told))
        .collect();
    findings.extend(newer_files(config, &contents));
    findings.extend(saved_database(config).map(|told| Finding::warning(Aspect::Database, told)));
    findings.extend(begun_anew(config).map(|told| Finding::warning(Aspect::Database, told)));
    findings.extend(ahead(&contents, SystemClock.now_ms()));
    if findings.is_empty() {
        let told = format!(
            "whole: {}, {} waiting, in {}",
            count(contents.jobs.unsigned_abs(), "job"),
            count(contents.waiting.unsigned_abs(), "render"),
            config.database_path().display()
        );
        findings.push(Finding::ok(Aspect::Database, told));
    }
    Ok(findings)
}

/// Job files that were taken in after the backup that was put back.
fn newer_files(config: &Config, contents: &Contents) -> Option<Finding> {
    let accepted = accepted_ids(&config.jobs).unwrap_or_default();
    let newer = accepted.into_iter().filter(|id| *id > contents.last_job).count();
    (newer > 0).then(|| {
        let told = format!(
            "{} in {} are of no job in the database: to run one again, move it into {}",
            count(newer as u64, "job file"),
            config.jobs.join("accepted").display(),
            config.jobs.display()
        );
        Finding::warning(Aspect::Database, told)
    })
}

/// Rows from the future: the clock was set back.
fn ahead(contents: &Contents, now_ms: i64) -> Option<Finding> {
    let newest_ms = contents.newest_ms.filter(|at_ms| *at_ms > now_ms + AHEAD_MS)?;
    let told = format!(
        "its newest row is of {}, and the clock says {}: one of the two was wrong",
        moment::date_and_time(newest_ms),
        moment::date_and_time(now_ms)
    );
    Some(Finding::warning(Aspect::Clock, told))
}

/// What the daemon says of itself, as far as it is not well.
pub(super) fn daemon(config: &Config) -> Vec<Finding> {
    let QueueStatus { running, daemon, jobs_folder, .. } = status_of(config);
    let mut findings: Vec<Finding> = daemon.iter().flat_map(troubles).collect();
    findings.extend(trouble_of(&jobs_folder));
    if findings.is_empty() {
        let told = match daemon {
            Some(daemon) => format!("runs (process {}): {}", daemon.pid, daemon.line()),
            None if running => "is starting".to_owned(),
            None => "none runs; start it with: zimaged run".to_owned(),
        };
        findings.push(Finding::ok(Aspect::Daemon, told));
    }
    findings
}

/// Why no render is started although all is well: a user wants it so. What is wrong with the
/// database is told elsewhere.
pub(super) async fn obstacle(config: &Config) -> Option<Finding> {
    let queue = Queue::open(config).await.ok()?;
    let (quiet, now_ms) = ((&config.power.quiet, &TimeZone::system()), SystemClock.now_ms());
    let obstacle = queue::obstacle(queue.store(), quiet, now_ms).await.ok()??;
    // The daemon says so itself, where something waits for their end.
    let is_told = matches!(obstacle, Obstacle::Quiet { .. });
    (!is_told).then(|| Finding::ok(Aspect::Daemon, obstacle.to_string()))
}

fn troubles(daemon: &Status) -> Vec<Finding> {
    let wrong = |told: String| Finding::wrong(Aspect::Daemon, told);
    let mut findings = Vec::new();
    findings.extend(daemon.hold.iter().map(|why| {
        let told = format!("starts no render: {why}");
        if daemon.hold_is_wanted { Finding::ok(Aspect::Daemon, told) } else { wrong(told) }
    }));
    if let WorkerStatus::Down { reason, .. } = &daemon.worker {
        findings.push(wrong(format!("has no worker: {reason}")));
    }
    findings.extend(
        daemon.held_models.iter().map(|held| {
            wrong(format!("renders wait for the model {}: {}", held.model, held.reason))
        }),
    );
    let ours = env!("CARGO_PKG_VERSION");
    if daemon.version != ours {
        let told = format!("is of version {}, and this is {ours}: start it again", daemon.version);
        findings.push(Finding::warning(Aspect::Daemon, told));
    }
    findings
}

fn trouble_of(folder: &JobsFolder) -> Option<Finding> {
    let trouble = folder.trouble.as_ref()?;
    Some(Finding::wrong(Aspect::Daemon, format!("takes no job file in: {trouble}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::status::{HeldModel, ModelTrouble, WorkerEnd};

    #[test]
    fn whatever_the_daemon_is_not_well_with_is_told() {
        let verdicts = |status: &Status| {
            troubles(status).into_iter().map(|finding| finding.verdict).collect::<Vec<_>>()
        };
        let well = Status::starting(1);
        assert!(verdicts(&well).is_empty());
        let held = HeldModel {
            model: "base".into(),
            reason: "gone".into(),
            trouble: ModelTrouble::WrongFiles,
        };
        let ill = Status {
            hold: Some("the disk is full".into()),
            worker: WorkerStatus::Down { reason: "no card".into(), end: WorkerEnd::NotLoaded },
            held_models: vec![held],
            version: "0.0.0".into(),
            ..well
        };
        let wrong = Verdict::Wrong;
        assert_eq!(verdicts(&ill), [wrong, wrong, wrong, Verdict::Warning]);
    }

    #[test]
    fn rows_that_are_newer_than_the_clock_are_told() {
        let contents = |newest_ms| Contents { jobs: 1, waiting: 0, last_job: 1, newest_ms };
        assert!(ahead(&contents(None), 0).is_none());
        assert!(ahead(&contents(Some(AHEAD_MS)), 0).is_none(), "two machines' clocks differ");
        assert!(ahead(&contents(Some(AHEAD_MS + 1)), 0).is_some());
    }
}
