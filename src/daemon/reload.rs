//! SIGHUP: the configuration is read anew while the daemon runs. What is wrong with it is told, and
//! the one before goes on; what needs a restart is told by its keys.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Daemon;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, LiveConfig};
use crate::job::spec::Rules;
use crate::status::{ReloadStatus, Status};
use crate::store::Store;
use crate::{hooks, systemd};

/// Renews the configuration of a daemon.
pub(super) struct Reload {
    config: LiveConfig,
    at_start: Arc<Config>,
    rules: watch::Sender<Rules>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    status: watch::Sender<Status>,
}

impl Reload {
    /// `rules` are those by which files are checked.
    pub(super) fn new(daemon: &Daemon, rules: watch::Sender<Rules>) -> Reload {
        let Daemon { config, at_start, store, clock, status, .. } = daemon;
        let (config, at_start) = (config.clone(), at_start.clone());
        let (store, clock, status) = (store.clone(), clock.clone(), status.clone());
        Reload { config, at_start, rules, store, clock, status }
    }

    /// Reads the configuration whenever it is `asked` to, until `stop`.
    pub(super) async fn run(self, asked: Arc<Notify>, stop: CancellationToken) {
        while stop.run_until_cancelled(asked.notified()).await.is_some() {
            systemd::reloading();
            let outcome = self.reload().await;
            self.tell(outcome);
            systemd::ready();
        }
    }

    /// The keys that have changed and do not count before a restart.
    async fn reload(&self) -> anyhow::Result<Vec<&'static str>> {
        let (config, at_start) = (self.config.now(), self.at_start.clone());
        let read = tokio::task::spawn_blocking(move || {
            // Before it is read: what changes in between is then told to be new.
            let config_sha256 = config.file_sha256();
            Ok::<_, ConfigError>((config_sha256, read(&config, &at_start)?))
        });
        let (config_sha256, read) = read.await.context("reading it failed")??;
        let (renewed, rules, needs_restart) = read;
        hooks::begin(&self.store, &renewed.hooks, self.clock.now_ms()).await?;
        self.config.replace(renewed);
        self.rules.send_replace(rules);
        self.status.send_modify(|status| status.config_sha256 = config_sha256);
        Ok(needs_restart)
    }

    fn tell(&self, outcome: anyhow::Result<Vec<&'static str>>) {
        let mut told = ReloadStatus { at_ms: self.clock.now_ms(), ..ReloadStatus::default() };
        match outcome {
            Ok(keys) => {
                info!("the configuration was read anew");
                told.needs_restart = keys.into_iter().map(str::to_owned).collect();
            }
            Err(error) => {
                let trouble = format!("{error:#}");
                warn!("the configuration stays as it was: {trouble}");
                told.trouble = Some(trouble);
            }
        }
        if !told.needs_restart.is_empty() {
            warn!("changed, but needs a restart: {}", told.needs_restart.join(", "));
        }
        self.status.send_modify(|status| status.reload = Some(told));
    }
}

/// The file as it is now: what counts at once of it, checked as at a start; what job files are
/// checked against; and which keys need a restart.
fn read(
    config: &Config,
    at_start: &Config,
) -> Result<(Config, Rules, Vec<&'static str>), ConfigError> {
    let newer = Config::load(config.file.as_deref())?;
    let renewed = config.renewed(&newer);
    let rules = renewed.job_rules()?;
    Ok((renewed, rules, at_start.needs_restart_for(&newer)))
}
