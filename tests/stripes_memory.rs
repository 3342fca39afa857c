//! What a decode in stripes saves. A binary of its own with one test, because the heap is counted for the whole
//! process.

// Helpers beside the tests count as tests, too: a panic is a failure.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use zimaged::engine::meter::{self, CountingAllocator};
use zimaged::engine::z_image::config::ModelConfig;
use zimaged::engine::z_image::memory::Memory;
use zimaged::engine::z_image::vae::Decoder;
use zimaged::engine::z_image::weights::Weights;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Of the picture, pixels.
const SIDE: usize = 1024;
/// Of the stripes, pixels, the highest first.
const STRIPE_HEIGHTS: [usize; 4] = [512, 256, 128, 64];

/// How long `decode` takes, and the bytes at its peak beyond those before it.
fn measure(what: &str, decode: impl FnOnce() -> Tensor) -> (Duration, u64) {
    meter::reset_peak();
    let (before, start) = (meter::used_bytes(), Instant::now());
    decode();
    let (time, bytes) = (start.elapsed(), meter::peak_bytes() - before);
    println!("{what}: {:.2} s, {:.1} MiB", time.as_secs_f64(), bytes as f64 / f64::from(1 << 20));
    (time, bytes)
}

#[test]
fn lower_stripes_take_less_memory_and_all_less_than_half_of_the_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini");
    let config = ModelConfig::read(&folder).unwrap().vae;
    let weights = Weights::open(&folder.join("vae"), "diffusion_pytorch_model", DType::F32, &Device::Cpu).unwrap();
    let decoder = Decoder::new(&config, &weights, &Memory::new(&Device::Cpu, None)).unwrap();
    let side = SIDE / config.factor();
    let latents = Tensor::randn(0_f32, 1.0, (1, config.latent_channels, side, side), &Device::Cpu).unwrap();
    // The matrix product keeps buffers for its threads.
    decoder.decode(&latents.narrow(2, 0, 1).unwrap().contiguous().unwrap()).unwrap();

    let (_, whole) = measure("whole", || decoder.decode(&latents).unwrap());
    let striped = STRIPE_HEIGHTS.map(|height| {
        let what = format!("stripes of {height}");
        measure(&what, || decoder.decode_striped(&latents, height / config.factor()).unwrap()).1
    });
    assert!(striped.is_sorted_by(|higher, lower| higher > lower), "{striped:?}");
    assert!(striped[3] < whole / 2, "{striped:?} of {whole}");
}
