//! Where a model's files are, as the configuration or the command line says.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which training of Z-Image it is. The weights do not tell it: they have the same shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Distilled: few steps, without guidance.
    Turbo,
    /// As it was trained: many steps, with guidance.
    Base,
    /// Turbo with its distillation trained away: many steps and guidance, with Turbo's schedule.
    DeTurbo,
}

impl ModelKind {
    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            ModelKind::Turbo => "Turbo",
            ModelKind::Base => "base",
            ModelKind::DeTurbo => "De-Turbo",
        }
    }
}

/// What names a model's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelPlace {
    /// A folder, or a single file that holds the transformer at least.
    pub path: PathBuf,
    /// The text encoder's file where it is another one.
    pub text_encoder: Option<PathBuf>,
    /// The VAE's file where it is another one.
    pub vae: Option<PathBuf>,
    /// `None` where the files are to tell it.
    pub kind: Option<ModelKind>,
}

impl ModelPlace {
    /// All of it at `path`.
    pub fn at(path: &Path) -> ModelPlace {
        ModelPlace { path: path.to_owned(), text_encoder: None, vae: None, kind: None }
    }
}
