//! What the dispatcher and its workers are told, of the configuration at the start.

use std::collections::BTreeMap;

use anyhow::Context;
use tracing::warn;

use super::{Daemon, last_word_path, latents_folder};
use crate::config::Config;
use crate::dispatcher::{Settings, SlotSettings};
use crate::engine::device_speed;
use crate::job::Render;
use crate::job::spec::{ModelRules, Rules};
use crate::worker::protocol::Load;

impl Daemon {
    pub(super) fn settings(&self, config: &Config, rules: &Rules) -> anyhow::Result<Settings> {
        let mut loads = BTreeMap::from([(String::new(), load(config, &rules.defaults)?)]);
        let mut unusable = BTreeMap::new();
        for (name, of_model) in &rules.models {
            match (of_model, config.with_model(name)) {
                (ModelRules::Usable { defaults, .. }, Some(config)) => {
                    loads.insert(name.clone(), load(&config, defaults)?);
                }
                (ModelRules::Unusable(why), _) => {
                    warn!(model = %name, reason = %why, "a model cannot be used");
                    unusable.insert(name.clone(), why.clone());
                }
                (_, None) => (),
            }
        }
        Ok(Settings {
            slot: SlotSettings {
                exe: std::env::current_exe().context("cannot find this program's file")?,
                loads,
                config: self.config.clone(),
            },
            unusable,
            outputs: config.outputs.clone(),
            database: self.store.id().to_owned(),
            latents: latents_folder(config),
            inputs: config.inputs_path(),
            loras: config.loras.clone(),
            config: self.config.clone(),
            mode: self.mode,
        })
    }
}

/// What a worker for the model of `config` is told; `usual` is what it makes its weights ready
/// for.
fn load(config: &Config, usual: &Render) -> anyhow::Result<Load> {
    Ok(Load {
        engine: config.engine,
        model: config.model_place()?,
        device: config.device,
        allowance: config.allowance(),
        usual: usual.clone(),
        prefer: config.prefer,
        embeddings_path: config.state.join("embeddings"),
        thumbnails_path: config.thumbnails_path(),
        previews_path: config.previews_path(),
        hashes_path: config.hashes_path(),
        last_word_path: last_word_path(config),
        speeds_path: device_speed::path(&config.state),
    })
}
