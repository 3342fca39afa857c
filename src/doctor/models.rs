//! The configured models: found, whole, and what was fetched.

use std::path::Path;

use super::{Aspect, Finding};
use crate::config::{Config, ConfigError};
use crate::engine::EngineKind;
use crate::hub::{fetched_at, files_of_other_length};
use crate::queue::{ListedModel, list_models};
use crate::spelling::memory;

/// Each of them.
pub(super) async fn models(config: &Config) -> Vec<Finding> {
    if config.engine == EngineKind::Fake {
        return vec![Finding::ok(Aspect::Model, "the scripted engine reads none")];
    }
    let models = list_models(config).await;
    let configured = models.iter().filter_map(|model| Some((model.name.as_deref()?, model)));
    configured.map(|(name, model)| finding(config, name, model)).collect()
}

fn finding(config: &Config, name: &str, model: &ListedModel) -> Finding {
    let called = if name.is_empty() { "[model]" } else { name };
    let changed = changed(&model.path);
    match checked(config, name, model.built_in) {
        Err(error) => Finding::wrong(Aspect::Model, format!("{called}: {error}")),
        Ok(()) if !changed.is_empty() => {
            let told = format!(
                "{called}: not as fetched: {}; `zimaged model verify` reads all of it, and \
                 `zimaged model fetch` mends it",
                changed.join(", ")
            );
            Finding::wrong(Aspect::Model, told)
        }
        Ok(()) => Finding::ok(Aspect::Model, format!("{called}: {}", described(model))),
    }
}

/// What a start would say of it. The miniature in the program is unpacked by the daemon, and whole.
fn checked(config: &Config, name: &str, built_in: bool) -> Result<(), ConfigError> {
    let Some(config) = config.with_model(name) else { return Ok(()) };
    config.job_rules()?;
    if built_in { Ok(()) } else { config.check_weights() }
}

/// Files of a fetched model that have another length than their record says.
fn changed(path: &Path) -> Vec<String> {
    let of_record = fetched_at(path);
    of_record.map(|(folder, record)| files_of_other_length(&folder, &record)).unwrap_or_default()
}

fn described(model: &ListedModel) -> String {
    let size = memory(model.bytes);
    if model.built_in {
        return format!("the miniature in the program, {size}");
    }
    let from = match &model.source {
        Some(source) => format!("fetched from {} ({})", source.repository, source.hub),
        None => "not fetched by zimaged".to_owned(),
    };
    format!("{}, {size}, {from}", model.path.display())
}
