//! To come.

use std::path::Path;

use super::{DeviceChoice, Engine, Result};

/// Loads the model in folder `model` onto `device`; it renders as if that had no more than `memory_limit_bytes`.
pub fn load(_model: &Path, _device: DeviceChoice, _memory_limit_bytes: Option<u64>) -> Result<Box<dyn Engine>> {
    todo!()
}
