//! Who is told of renders that have ended, and of what.

use serde::{Deserialize, Serialize};

use crate::spelling::spelled_by_serde;

/// By which way something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookChannel {
    /// A program of the user's is run.
    Program,
    /// An HTTP request is sent.
    Webhook,
}

/// How a render has ended. What a user has cancelled is told to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// Its picture is made.
    Done,
    /// There will be no picture.
    Failed,
}

spelled_by_serde!(HookChannel);
spelled_by_serde!(HookEvent);
