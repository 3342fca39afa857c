//! Finds the reference model for the tests. With the `cuda` feature it also compiles the kernels in
//! `src/engine/z_image/ops/cuda/kernels.cu`, as candle's own are.

use std::path::PathBuf;

/// Relative to the project; `ZIMAGED_REFERENCE` names another folder.
const REFERENCE: &str = "../shared/reference";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    find_reference()?;
    #[cfg(feature = "cuda")]
    compile_kernels()?;
    Ok(())
}

/// Tells the tests where the reference model is, and sets `cfg(reference)` if it is there, so that
/// the test runner can report what needs it as ignored.
fn find_reference() -> std::io::Result<()> {
    let folder = std::env::var_os("ZIMAGED_REFERENCE").unwrap_or_else(|| REFERENCE.into());
    let model = std::path::absolute(PathBuf::from(folder).join("model"))?;
    let index = model.join("model_index.json");
    println!("cargo::rerun-if-env-changed=ZIMAGED_REFERENCE");
    println!("cargo::rustc-env=ZIMAGED_REFERENCE_MODEL={}", model.display());
    println!("cargo::rustc-check-cfg=cfg(reference)");
    if index.is_file() {
        println!("cargo::rustc-cfg=reference");
        println!("cargo::rerun-if-changed={}", index.display());
    }
    Ok(())
}

#[cfg(feature = "cuda")]
fn compile_kernels() -> cudaforge::Result<()> {
    let kernels = cudaforge::KernelBuilder::new()
        .source_files(["src/engine/z_image/ops/cuda/kernels.cu"])
        .arg("-O3");
    kernels.build_ptx().map(drop)
}
