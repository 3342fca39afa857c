//! With the `cuda` feature: the kernels in `src/engine/z_image/ops/cuda/kernels.cu`, compiled as
//! candle's own are.

#[cfg(feature = "cuda")]
fn main() -> cudaforge::Result<()> {
    let kernels = cudaforge::KernelBuilder::new()
        .source_files(["src/engine/z_image/ops/cuda/kernels.cu"])
        .arg("-O3");
    kernels.build_ptx().map(drop)
}

#[cfg(not(feature = "cuda"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
