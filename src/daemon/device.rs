//! Whether this build renders on the device that is configured.

use std::path::Path;

use tracing::{info, warn};

use crate::config::ConfigError;
use crate::engine::{CardSigns, DeviceChoice};

/// Says why the processor renders, and what would have a card render. Lines are short enough for a
/// terminal.
pub(super) fn tell_of_no_cuda() {
    let signs = CardSigns::look(Path::new("/"));
    for line in signs.without_cuda() {
        match signs.first() {
            Some(_) => warn!("{line}"),
            None => info!("{line}"),
        }
    }
}

/// A device that this build never has is told at once; one that may come back is waited for.
pub(super) fn check(device: DeviceChoice, has_cuda: bool) -> Result<(), ConfigError> {
    match device {
        DeviceChoice::Cuda { .. } if !has_cuda => Err(ConfigError::NoCuda),
        _ => Ok(()),
    }
}
