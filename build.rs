//! Finds the reference model for the tests. With the `cuda` feature it also compiles the kernels in
//! `src/engine/z_image/ops/cuda/`, as candle's own are.

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

/// What the kernels are compiled for where `CUDA_COMPUTE_CAP` does not say otherwise. Every card
/// from this compute capability on loads them; what is compiled for the card of the machine that
/// builds may load on no other one. `.cargo/config.toml` says the same for candle's kernels.
#[cfg(feature = "cuda")]
const COMPUTE_CAP: &str = "80";

#[cfg(feature = "cuda")]
fn compile_kernels() -> cudaforge::Result<()> {
    let cap = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| COMPUTE_CAP.into());
    let kernels = cudaforge::KernelBuilder::new()
        .source_glob("src/engine/z_image/ops/cuda/*.cu")
        .watch([
            "src/engine/z_image/ops/cuda/convolution.cuh",
            "src/engine/z_image/ops/cuda/hopper.cuh",
            "src/engine/z_image/ops/cuda/softmax.cuh",
            "src/engine/z_image/ops/cuda/tensor_cores.cuh",
            "src/engine/z_image/ops/cuda/values.cuh",
        ])
        .compute_cap_arch(&cap)
        // Instructions of one capability alone, behind which no card is promised to have them.
        .with_compute_override_arch("*_hopper.cu", "90a")
        .arg("-O3");
    kernels.build_ptx().map(drop)
}
