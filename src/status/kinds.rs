//! Of what kind a reason is, for whoever tells it in other words than the daemon's.

use serde::{Deserialize, Serialize};

/// Why nothing is started although jobs wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// The database cannot be read or written.
    Database,
    /// The output folder takes no pictures, or one was refused.
    Outputs,
    /// daemon.toml wants quiet hours.
    QuietHours,
    /// The card is above a ceiling of daemon.toml.
    CardCeiling,
}

impl HoldKind {
    /// Whether daemon.toml wants it so, and nothing is wrong.
    pub fn is_wanted(self) -> bool {
        matches!(self, HoldKind::QuietHours | HoldKind::CardCeiling)
    }
}

/// Why there is no worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkerEnd {
    /// It crashed, was killed, or did not get on.
    #[default]
    Died,
    /// Memory was refused to it, or the system ended it for its memory.
    OutOfMemory,
    /// It could not load its model.
    NotLoaded,
    /// The files of its model are wrong.
    WrongModel,
}

/// Why a model cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ModelTrouble {
    /// It could not be loaded.
    #[default]
    NotLoaded,
    /// Its files are missing or wrong.
    WrongFiles,
    /// daemon.toml does not name it.
    Unnamed,
}
