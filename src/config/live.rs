//! The configuration of a daemon that runs: a part of it counts as soon as it is read anew, the
//! rest after a restart.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Config, HttpConfig, PowerConfig};

/// The configuration as it stands now, the same for all parts of a daemon. Each asks at the start
/// of what it decides, and decides all of it by one answer.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    now: Arc<RwLock<Arc<Config>>>,
}

impl LiveConfig {
    pub fn new(config: Config) -> LiveConfig {
        LiveConfig { now: Arc::new(RwLock::new(Arc::new(config))) }
    }

    pub fn now(&self) -> Arc<Config> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one counts.
    pub fn replace(&self, config: Config) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

impl Config {
    /// This configuration with all of a `newer` one that counts without a restart: what jobs are
    /// checked against, who is told, how long is waited, and when nothing is started.
    pub fn renewed(&self, newer: &Config) -> Config {
        let newer = newer.clone();
        Config {
            wildcards: newer.wildcards,
            idle_release_ms: newer.idle_release_ms,
            defaults: newer.defaults,
            limits: newer.limits,
            sidecar: newer.sidecar,
            power: PowerConfig { inhibit_sleep: self.power.inhibit_sleep, ..newer.power },
            worker: newer.worker,
            hooks: newer.hooks,
            http: HttpConfig {
                strict_model: newer.http.strict_model,
                sdapi_untouched: newer.http.sdapi_untouched,
                wait_max_ms: newer.http.wait_max_ms,
                ..self.http.clone()
            },
            ..self.clone()
        }
    }

    /// The keys of a `newer` configuration that are not as they are here and count after a restart
    /// only.
    pub fn needs_restart_for(&self, newer: &Config) -> Vec<&'static str> {
        // All fields by name: whoever adds one decides here what becomes of it.
        #[rustfmt::skip]
        let Config {
            jobs, outputs, state, loras, engine, model, models, device, memory_limit_bytes,
            reserve_bytes, prefer, power, http,
            file: _, wildcards: _, idle_release_ms: _, defaults: _, limits: _, worker: _, hooks: _,
            sidecar: _,
        } = newer;
        let PowerConfig { inhibit_sleep, quiet: _, ceilings: _ } = power;
        #[rustfmt::skip]
        let HttpConfig {
            enabled, listen, token, hosts,
            strict_model: _, sdapi_untouched: _, wait_max_ms: _,
        } = http;
        let keys = [
            ("engine", *engine != self.engine),
            ("folders.jobs", *jobs != self.jobs),
            ("folders.outputs", *outputs != self.outputs),
            ("folders.loras", *loras != self.loras),
            ("folders.state", *state != self.state),
            ("model", *model != self.model),
            ("models", *models != self.models),
            ("device.kind", *device != self.device),
            ("device.memory_limit", *memory_limit_bytes != self.memory_limit_bytes),
            ("device.reserve", *reserve_bytes != self.reserve_bytes),
            ("oom.prefer", *prefer != self.prefer),
            ("power.inhibit_sleep", *inhibit_sleep != self.power.inhibit_sleep),
            ("http.enabled", *enabled != self.http.enabled),
            ("http.listen", *listen != self.http.listen),
            ("http.token", *token != self.http.token),
            ("http.hosts", *hosts != self.http.hosts),
        ];
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(text: &str) -> Config {
        Config::parse(text, Path::new("/srv/z")).expect("a good configuration")
    }

    /// Another value for each key of `daemon.toml`.
    const ALL_CHANGED: &str = "engine = 'fake'\n\
        [folders]\njobs = 'a'\noutputs = 'b'\nstate = 'c'\nwildcards = 'd'\nloras = 'e'\n\
        [model]\npath = 'm'\n[models.x]\npath = 'x'\n\
        [device]\nkind = 'cpu'\nmemory_limit = '1GiB'\nreserve = '1GiB'\nidle_release = '1m'\n\
        [oom]\nprefer = 'speed'\n[defaults]\nsteps = 5\n[limits]\nside_max = 512\n\
        [power]\ninhibit_sleep = false\nquiet_hours = '23:00-07:00'\ntemperature_max_c = 80\n\
        [output]\nsidecar = 'json'\n\
        [http]\nenabled = false\nlisten = '127.0.0.1:1'\ntoken = 'always'\nhosts = ['box.lan']\n\
        strict_model = true\nsdapi_untouched = 'as_sent'\nwait_max = '1m'\n\
        [hooks]\non_done = 'true'\n[worker]\nstep_timeout = '1m'\n";

    /// A key that neither counts at once nor is told to need a restart would be dropped in silence.
    #[test]
    fn each_key_counts_at_once_or_is_told_to_need_a_restart() {
        let (before, newer) = (parsed(""), parsed(ALL_CHANGED));
        let renewed = before.renewed(&newer);
        assert_eq!(before.needs_restart_for(&renewed), [""; 0], "all of it counts");
        let restarted = Config {
            jobs: newer.jobs.clone(),
            outputs: newer.outputs.clone(),
            state: newer.state.clone(),
            loras: newer.loras.clone(),
            engine: newer.engine,
            model: newer.model.clone(),
            models: newer.models.clone(),
            device: newer.device,
            memory_limit_bytes: newer.memory_limit_bytes,
            reserve_bytes: newer.reserve_bytes,
            prefer: newer.prefer,
            power: newer.power.clone(),
            http: newer.http.clone(),
            ..renewed
        };
        assert_eq!(restarted, newer, "nothing else is left");
        assert_eq!(before.needs_restart_for(&newer).len(), 16);
        assert_eq!(newer.needs_restart_for(&newer), [""; 0]);
    }
}
