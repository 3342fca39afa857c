//! Whether this build renders on the device that is configured.

use std::path::Path;

use tracing::{info, warn};

use crate::config::ConfigError;
use crate::engine::{CardSigns, DeviceChoice};

/// Says why the processor renders, and what would have a card render. Lines are short enough for a
/// terminal.
pub(super) fn tell_of_no_cuda() {
    let signs = CardSigns::look(Path::new("/"));
    let mut lines = vec!["no CUDA in this build: the processor renders".to_owned()];
    lines.extend(signs.lines());
    lines.push("card: cargo install --path . --features cuda".to_owned());
    for line in lines {
        match signs.are_there() {
            true => warn!("{line}"),
            false => info!("{line}"),
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
