//! Which models there are, which of them cannot be used for now, and which render is next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::slot::NotLoaded;
use crate::planner::{ModelHead, ModelTurns};
use crate::status::{HeldModel, ModelTrouble, Status};

/// How long a model that could not be loaded is left alone while others can be used.
const PAUSE: Duration = Duration::from_secs(5 * 60);

/// The models of the configuration, by their names.
pub(super) struct Models {
    /// With the reason why it cannot be used, and until when, where that ends by itself.
    known: BTreeMap<String, Option<SetAside>>,
    /// Those that were loaded since the daemon was started.
    worked: BTreeSet<String>,
    turns: ModelTurns,
    status: watch::Sender<Status>,
}

#[derive(Clone)]
struct SetAside {
    reason: String,
    trouble: ModelTrouble,
    until: Option<Instant>,
}

impl SetAside {
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

impl Models {
    /// All models of the configuration: the `usable` ones, and the others, each with its reason.
    pub(super) fn new<'n>(
        usable: impl Iterator<Item = &'n String>,
        unusable: &BTreeMap<String, String>,
        status: watch::Sender<Status>,
    ) -> Models {
        let wrong = |(name, reason): (&String, &String)| {
            let reason = format!("{reason}; start the daemon again when it is mended");
            let trouble = ModelTrouble::WrongFiles;
            (name.clone(), Some(SetAside { reason, trouble, until: None }))
        };
        let known = usable.map(|name| (name.clone(), None));
        let known = known.chain(unusable.iter().map(wrong)).collect();
        Models { known, worked: BTreeSet::new(), turns: ModelTurns::default(), status }
    }

    /// Notes that the model was loaded.
    pub(super) fn note_worked(&mut self, model: &str) {
        if !self.has_worked(model) {
            self.worked.insert(model.to_owned());
        }
    }

    pub(super) fn has_worked(&self, model: &str) -> bool {
        self.worked.contains(model)
    }

    /// Whether the model is left alone for now.
    pub(super) fn is_aside(&self, model: &str) -> bool {
        self.aside(model).is_some()
    }

    /// Leaves a model alone for a while: it cannot be loaded.
    pub(super) fn set_aside(&mut self, model: &str, why: &NotLoaded) {
        let until = Some(Instant::now() + PAUSE);
        let trouble = match why {
            NotLoaded::WrongModel(_) => ModelTrouble::WrongFiles,
            NotLoaded::Reason(_) => ModelTrouble::NotLoaded,
        };
        let reason = why.reason().to_owned();
        self.known.insert(model.to_owned(), Some(SetAside { reason, trouble, until }));
    }

    /// What of `heads` can be rendered. Why the rest cannot is told once, and shown.
    pub(super) fn usable(&mut self, heads: Vec<ModelHead>) -> Vec<ModelHead> {
        let held = heads.iter().filter_map(|head| self.held(&head.model)).collect();
        self.tell(held);
        heads.into_iter().filter(|head| !self.is_aside(&head.model)).collect()
    }

    /// The next of the usable `heads` while `loaded` is loaded.
    pub(super) fn next(
        &mut self,
        heads: &[ModelHead],
        loaded: Option<&str>,
        now_ms: i64,
    ) -> Option<ModelHead> {
        self.turns.next(heads, loaded, now_ms).cloned()
    }

    /// Notes that the render that was chosen last is begun.
    pub(super) fn began(&mut self) {
        self.turns.began();
    }

    /// See [`ModelTurns::loras`].
    pub(super) fn loras(&self) -> &str {
        self.turns.loras()
    }

    fn held(&self, model: &str) -> Option<HeldModel> {
        let SetAside { reason, trouble, .. } = self.aside(model)?;
        Some(HeldModel { model: model.to_owned(), reason, trouble })
    }

    /// Why the model cannot be used now, if it cannot.
    fn aside(&self, model: &str) -> Option<SetAside> {
        match self.known.get(model) {
            Some(None) => None,
            Some(Some(aside)) => Some(aside.clone()).filter(|aside| !aside.is_over()),
            None => {
                let (reason, trouble) = (self.unnamed(model), ModelTrouble::Unnamed);
                Some(SetAside { reason, trouble, until: None })
            }
        }
    }

    fn unnamed(&self, model: &str) -> String {
        let names: Vec<&str> =
            self.known.keys().map(String::as_str).filter(|name| !name.is_empty()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!(
            "daemon.toml names no model {model} (it names {names}): add [models.{model}] and start \
             the daemon again, or cancel these renders"
        )
    }

    fn tell(&self, held: Vec<HeldModel>) {
        self.status.send_if_modified(|status| {
            if status.held_models == held {
                return false;
            }
            for HeldModel { model, reason, .. } in &held {
                if !status.held_models.iter().any(|told| told.model == *model) {
                    warn!(%model, %reason, "renders wait for their model");
                }
            }
            for HeldModel { model, .. } in &status.held_models {
                if !held.iter().any(|still| still.model == *model) {
                    info!(%model, "no render waits for a model that cannot be used any more");
                }
            }
            status.held_models = held;
            true
        });
    }
}
