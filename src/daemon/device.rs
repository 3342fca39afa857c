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
    if signs.first().is_none() {
        info!("{}", CardSigns::looked_for());
    }
}

/// Whether the processor renders because this build knows no card, though one would do.
pub(super) fn is_without_card(device: DeviceChoice, has_cuda: bool) -> bool {
    device == DeviceChoice::Auto && !has_cuda
}

/// A device that this build never has is told at once; one that may come back is waited for.
pub(super) fn check(device: DeviceChoice, has_cuda: bool) -> Result<(), ConfigError> {
    match device {
        DeviceChoice::Cuda { .. } if !has_cuda => Err(ConfigError::NoCuda),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // newcomer 9
    #[test]
    fn only_a_build_without_cuda_says_so_and_refuses_a_card() {
        let card = DeviceChoice::Cuda { index: 0 };
        for has_cuda in [false, true] {
            assert_eq!(check(card, has_cuda).is_ok(), has_cuda);
            assert_eq!(is_without_card(DeviceChoice::Auto, has_cuda), !has_cuda);
            for device in [DeviceChoice::Auto, DeviceChoice::Cpu] {
                assert!(check(device, has_cuda).is_ok());
            }
            for device in [DeviceChoice::Cpu, card] {
                assert!(!is_without_card(device, has_cuda));
            }
        }
    }
}
