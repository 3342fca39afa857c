//! Where the daemon does not go by what its asker sees: the time of day, and the configuration; and
//! what else it says that counts for all work.

use jiff::tz::TimeZone;

use super::has_daemon;
use crate::clock;
use crate::config::Config;
use crate::job::warning::Warning;
use crate::status::{self, Status};

/// The time zone by which times of day and windows are meant, whoever says them: the daemon's; this
/// process's own where none runs, or its zone has no name.
pub(super) fn daemon_zone(config: &Config) -> TimeZone {
    let zone = daemon(config).and_then(|daemon| clock::zone_called(&daemon.time_zone?));
    zone.unwrap_or_else(TimeZone::system)
}

/// How its users call that zone now, like CET.
pub(super) fn daemon_zone_word(config: &Config, now_ms: i64) -> String {
    clock::within(now_ms, daemon_zone(config)).strftime("%Z").to_string()
}

/// What is told of a time, where the daemon's clock does not show what the asker's does.
pub(super) fn other_clock(zone: &TimeZone, now_ms: i64) -> Option<Warning> {
    let (there, here) = (clock::within(now_ms, zone.clone()), clock::local(now_ms));
    let there_now = there.strftime("%Y-%m-%d %H:%M %Z").to_string();
    (there.offset() != here.offset()).then_some(Warning::OtherClock { there_now })
}

/// What is told where the daemon has not read the asker's configuration as it is now, or a part of
/// it counts after a restart only. The daemon itself goes by its own.
pub(super) fn unread_configuration(config: &Config) -> Option<Warning> {
    let Status { pid, config_sha256, reload, .. } = daemon(config)?;
    let needs_restart = reload.map(|reload| reload.needs_restart).unwrap_or_default();
    let is_unread = config_sha256.is_some_and(|read| Some(read) != config.file_sha256());
    let is_told = pid != std::process::id() && (is_unread || !needs_restart.is_empty());
    let reload_pid = is_unread.then_some(pid);
    is_told.then_some(Warning::UnreadConfiguration { reload_pid, needs_restart })
}

/// What is told where the daemon could not keep the machine awake when work was due last.
pub(super) fn not_kept_awake(config: &Config) -> Option<Warning> {
    daemon(config)?.not_kept_awake.map(|why| Warning::MaySleep { why })
}

fn daemon(config: &Config) -> Option<Status> {
    status::read(&config.state).filter(|_| has_daemon(config))
}
