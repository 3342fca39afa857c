//! What job files are checked against, for the model of `[model]` and for those with names.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::{Config, ConfigError, ModelChoice};
use crate::engine::{ModelDescription, ModelError};
use crate::job::spec::{Limits, ModelRules, Rules, fields};
use crate::job::{Recipe, Render};
use crate::table::Mistake;

impl Config {
    /// The same configuration with the model that a job calls `name` in the place of the one of
    /// `[model]`, which has the empty name. `None` where there is none of this name.
    pub fn with_model(&self, name: &str) -> Option<Config> {
        if name.is_empty() {
            return Some(self.clone());
        }
        let model = ModelChoice::Named(self.models.get(name)?.clone());
        Some(Config { model, ..self.clone() })
    }

    /// The names of all models: the empty one of `[model]`, and those that jobs may say.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        [""].into_iter().chain(self.models.keys().map(String::as_str))
    }

    /// What job files are checked against: `[defaults]` first, then what the model says of itself,
    /// then our own. `Err` says which default does not fit the model.
    pub fn rules(
        &self,
        model: &ModelDescription,
        time_zone: TimeZone,
    ) -> Result<Rules, ConfigError> {
        let models = self.models.keys().map(|name| (name.clone(), self.rules_of_named(name)));
        let models = models.collect();
        Ok(Rules { models, ..self.rules_alone(model, time_zone)? })
    }

    fn rules_of_named(&self, name: &str) -> ModelRules {
        let unknown = || ModelError::Wrong(format!("there is no [models.{name}]")).into();
        let rules = self.with_model(name).ok_or_else(unknown);
        let rules = rules
            .and_then(|config| config.rules_alone(&config.describe_model()?, TimeZone::system()));
        match rules {
            Ok(Rules { defaults, limits, granularity, .. }) => ModelRules::Usable {
                defaults: Box::new(defaults),
                side_max: limits.side_max,
                granularity,
            },
            Err(error) => ModelRules::Unusable(error.to_string()),
        }
    }

    /// Without what is otherwise for models that a job names.
    fn rules_alone(
        &self,
        model: &ModelDescription,
        time_zone: TimeZone,
    ) -> Result<Rules, ConfigError> {
        let defaults = natural(model).with(self.defaults.clone());
        let side_max = self.limits.side_max.min(model.side_max);
        let rules = Rules {
            defaults,
            limits: Limits { side_max, ..self.limits.clone() },
            granularity: model.granularity,
            models: BTreeMap::new(),
            time_zone,
            wildcards: self.wildcards.clone(),
        };
        let unfit = |wrong| {
            let told = format!("the defaults do not fit the model {}: {wrong}", model.name);
            ConfigError::from(ModelError::Wrong(told))
        };
        check_defaults(&rules).map_err(unfit)?;
        Ok(rules)
    }
}

/// What a model asks for by itself.
fn natural(model: &ModelDescription) -> Render {
    Render {
        recipe: Recipe { guidance: model.guidance, ..Recipe::default() },
        width: model.width,
        height: model.height,
        steps: model.steps,
        // Half the side is a quarter of the pixels, and about where a model stops making sense.
        min_side: model.width.min(model.height) / 2,
        ..Render::default()
    }
}

/// The model may have given them, so the limits have not been checked yet, nor the granularity.
fn check_defaults(rules: &Rules) -> Result<(), String> {
    let Rules { defaults, limits, .. } = rules;
    for (key, side) in [("width", defaults.width), ("height", defaults.height)] {
        fields::check_side(side, &rules.bounds()).map_err(|Mistake { message, help }| {
            format!("{key}: {message}; {}", help.unwrap_or_default())
        })?;
    }
    if defaults.steps > limits.steps_max {
        return Err(format!(
            "steps: {} is out of range; use at most {}",
            defaults.steps, limits.steps_max
        ));
    }
    Ok(())
}
