//! Which files hold a part's weights, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Shape;
use candle_core::safetensors::MmapedSafetensors;
use safetensors::tensor::TensorView;
use serde::Deserialize;

use crate::engine::z_image::config::read_json;

/// How much of each tensor's values goes into the model's hash.
const DESCRIBED_BYTES: usize = 64;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

pub(super) fn paths(folder: &Path, stem: &str) -> std::result::Result<Vec<PathBuf>, String> {
    let single = folder.join(format!("{stem}.safetensors"));
    if single.exists() {
        return Ok(vec![single]);
    }
    let index: Index = read_json(&folder.join(format!("{stem}.safetensors.index.json")))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Name, type, shape and the first values: those of two trainings differ, and 12 GB are not read for it.
pub(super) fn describe(name: &str, view: &TensorView) -> String {
    let first = &view.data()[..view.data().len().min(DESCRIBED_BYTES)];
    format!("{name} {:?} {:?} {first:02x?}\n", view.dtype(), view.shape())
}

/// What is wrong with the tensor `name`, which should have this shape.
pub(super) fn problem(files: &MmapedSafetensors, name: &str, shape: &Shape) -> Option<String> {
    match files.get(name) {
        Err(_) => Some(format!("{name} is missing")),
        Ok(view) if view.shape() == shape.dims() => None,
        Ok(view) => Some(format!("{name} has shape {:?}, not {:?}", view.shape(), shape.dims())),
    }
}
