//! How the program ends: its exit codes, and which failure has which.

use std::error::Error;

use super::job_file::UnreadableFile;
use crate::config::ConfigError;
use crate::daemon::NothingStarted;
use crate::files;
use crate::hub::HubError;
use crate::instance::LockError;
use crate::queue::QueueError;
use crate::report::NoMeasurement;
use crate::store::StoreError;

/// Anything else, as what `submit --wait` has handed over without a daemon to wait for.
pub(super) const EXIT_FAILED: u8 = 1;
/// The arguments say nothing that can be done; clap's own code, too.
pub(super) const EXIT_USAGE: u8 = 2;
/// Some render failed or was cancelled (`wait`, `run --until-idle`), a job file has mistakes or
/// cannot be read (`check`, `submit`, and files that `run` set aside), a picture does not fit
/// (`fit`), or what was named has ended (`cancel`, `edit`, `retry`).
pub(super) const EXIT_NOT_DONE: u8 = 3;
/// All renders are done, but some picture is smaller or has fewer steps than asked (`wait`), or
/// would be (`fit`).
pub(super) const EXIT_DEGRADED: u8 = 4;
/// What came from a hub is not what it promised, more than once (`model fetch`), or a picture is
/// not what was recorded (`verify`).
pub(super) const EXIT_DATA: u8 = 65;
/// Try again later: another daemon runs, none does (`status`, `wait`), `run --until-idle` was
/// stopped or found the queue paused, the disk is full, the time-out of `wait` has passed.
pub(super) const EXIT_TEMPFAIL: u8 = 75;
/// The configuration or the database cannot be used as it is.
pub(super) const EXIT_CONFIG: u8 = 78;

/// The code of the first cause that has one of its own.
pub(super) fn exit_code_of(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(EXIT_FAILED)
}

fn code_of(cause: &(dyn Error + 'static)) -> Option<u8> {
    if let Some(error) = cause.downcast_ref() {
        return of_queue(error);
    }
    if let Some(error) = cause.downcast_ref() {
        return of_hub(error);
    }
    if let Some(error) = cause.downcast_ref() {
        return of_store(error);
    }
    if let Some(error) = cause.downcast_ref::<NoMeasurement>() {
        return Some(match error {
            NoMeasurement::Refused(_) => EXIT_NOT_DONE,
            NoMeasurement::DaemonRuns { .. } | NoMeasurement::Stopped => EXIT_TEMPFAIL,
        });
    }
    if let Some(NothingStarted { .. }) = cause.downcast_ref() {
        return Some(EXIT_TEMPFAIL);
    }
    if let Some(UnreadableFile { source, .. }) = cause.downcast_ref() {
        return Some(code_of(source).unwrap_or(EXIT_NOT_DONE));
    }
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        return files::may_pass(error).then_some(EXIT_TEMPFAIL);
    }
    if let Some(error) = cause.downcast_ref::<ConfigError>() {
        return Some(if error.may_pass() { EXIT_TEMPFAIL } else { EXIT_CONFIG });
    }
    match cause.downcast_ref::<LockError>()? {
        LockError::Taken { .. } => Some(EXIT_TEMPFAIL),
        LockError::Io { source, .. } => Some(code_of(source).unwrap_or(EXIT_CONFIG)),
    }
}

fn of_queue(error: &QueueError) -> Option<u8> {
    match error {
        QueueError::Mistakes(_) | QueueError::WrongWish(_) => Some(EXIT_NOT_DONE),
        QueueError::NotTaken { .. } | QueueError::NoDaemon(_) => Some(EXIT_TEMPFAIL),
        QueueError::Config(error) => code_of(error),
        QueueError::Store(error) => of_store(error),
        QueueError::Folder { source, .. } | QueueError::File { source, .. } => code_of(source),
        QueueError::NoBackup { source, .. } => code_of(source),
        QueueError::Lock(error) => code_of(error),
        QueueError::Hub(error) => of_hub(error),
        QueueError::WrongQuestion(_) => Some(EXIT_USAGE),
        QueueError::NoModel { .. } => Some(EXIT_CONFIG),
        QueueError::NoAnswer(_) => None,
    }
}

fn of_hub(error: &HubError) -> Option<u8> {
    match error {
        error if error.may_pass() => Some(EXIT_TEMPFAIL),
        HubError::Unclear(_) => Some(EXIT_USAGE),
        HubError::Wrong(_) => Some(EXIT_DATA),
        HubError::Refused(_) => Some(EXIT_CONFIG),
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<u8> {
    match error {
        StoreError::Unusable(_) => Some(EXIT_CONFIG),
        StoreError::NothingToDo(_) => Some(EXIT_NOT_DONE),
        error if error.may_pass_for_a_read() => Some(EXIT_TEMPFAIL),
        _ => None,
    }
}
