//! How fast a model is loaded on the processor, against `dd` of the same file from the page cache
//! to /dev/null, and against memory of the size that the weights then take, filled for the first
//! time by all threads: no load can be faster than that, which a virtual machine may make dear. All
//! three in turns in one run, for weights of bf16, which become f32 or stay as they are (`kind =
//! "cpu-bf16"`), and of f32. The model, 2 GB in
//! bf16, is made by what `zimaged model synth` calls, and removed in the end; `cargo bench --bench
//! load`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use zimaged::internals::{
    Conversion, CountingAllocator, Decode, DeviceChoice, Engine, FloatFormat, Geometry, ModelPlace,
    Precision, Residency, Rung, Synthesis, ZImageEngine, convert_model, prefer_large_pages,
    synthesise_model,
};

// As in the daemon.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Width and layers of a transformer that has 2 GB in bf16, and half of them for 2 GB in f32.
const DIM: usize = 2048;
const LAYERS: [usize; 2] = [16, 6];

/// A load may take so many times the time of `dd` and of the memory together.
const RATIO_MAX: f64 = 1.5;

const RUNS: usize = 5;

/// What a thread fills at a time, 256 KiB.
const TASK_VALUES: usize = 32 << 10;

fn main() {
    // `cargo test --benches` builds and starts benchmarks too; it does not pass this.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a writable folder");
    let [bf16, f32] = ["bf16", "f32"].map(|name| folder.path().join(name));
    synthesise(&bf16, LAYERS[0]);
    measure("bf16", &bf16, DeviceChoice::Cpu, 2);
    measure("bf16 that stays", &bf16, DeviceChoice::CpuBf16, 1);
    fs::remove_dir_all(&bf16).expect("our own");
    synthesise(&bf16, LAYERS[1]);
    let conversion = Conversion { to: &f32, format: FloatFormat::F32 };
    convert_model(&ModelPlace::at(&bf16), conversion).expect("2 GB of room");
    measure("f32", &f32, DeviceChoice::Cpu, 1);
}

fn synthesise(to: &Path, layers: usize) {
    let geometry = Geometry {
        is_miniature: true,
        dim: Some(DIM),
        layers: Some(layers),
        ..Geometry::default()
    };
    synthesise_model(&Synthesis { to, geometry, seed: 0 }).expect("2 GB of room");
}

/// Weights of `model` take `growth` times the bytes of their file in the memory of `device`.
fn measure(name: &str, model: &Path, device: DeviceChoice, growth: u64) {
    let weights = model.join("transformer/diffusion_pytorch_model.safetensors");
    let bytes = fs::metadata(&weights).expect("a file").len();
    let [mut dd, mut memory, mut load] = [f64::MAX; 3];
    copied(&weights);
    for _ in 0..RUNS {
        dd = dd.min(copied(&weights).as_secs_f64());
        memory = memory.min(filled(growth * bytes).as_secs_f64());
        load = load.min(loaded(model, device).as_secs_f64());
    }
    println!(
        "{name}, {:.2} GB, best of {RUNS}: dd {dd:.3} s, memory {memory:.3} s, load {load:.3} s: \
         {:.2} of dd, {:.2} of both (limit {RATIO_MAX})",
        bytes as f64 / 1e9,
        load / dd,
        load / (dd + memory)
    );
}

/// Memory of so many bytes, filled by all threads and given back.
fn filled(bytes: u64) -> Duration {
    let begun = Instant::now();
    let mut values = vec![0_u64; bytes as usize / size_of::<u64>()];
    prefer_large_pages(&mut values);
    values.par_chunks_mut(TASK_VALUES).for_each(|values| values.fill(1));
    let taken = begun.elapsed();
    drop(std::hint::black_box(values));
    taken
}

fn copied(path: &Path) -> Duration {
    let begun = Instant::now();
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", path.display())).args(["of=/dev/null", "bs=16M", "status=none"]);
    assert!(dd.status().expect("dd").success());
    begun.elapsed()
}

fn loaded(model: &Path, device: DeviceChoice) -> Duration {
    let begun = Instant::now();
    let mut engine = ZImageEngine::load(&ModelPlace::at(model), device, None).expect("a model");
    let (residency, precision, decode) = (Residency::Device, Precision::Full, Decode::Whole);
    let rung = Rung { residency, precision, decode, width: 256, height: 256, steps: 1 };
    engine.place_weights(&rung).expect("room");
    begun.elapsed()
}
