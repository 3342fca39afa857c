//! The two things that a render spends its time on, with random weights on the CPU: one transformer
//! step, one VAE decode; and what another LoRA costs between two renders.
//! `tools/bench/torch_baseline.py` times the same in torch.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;
use zimaged::internals::{
    CountingAllocator, Decoder, DeviceMemory, LoadedLora, LoraFile, LoraModules, Transformer,
    Weights, turbo,
};

// As in the daemon.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CAPTION_TOKENS: usize = 48;
const CAPTION_DIM: usize = 256;

const TRANSFORMER: &str = r#"{"all_patch_size": [2], "all_f_patch_size": [1], "in_channels": 16, "dim": 768,
    "n_layers": 8, "n_refiner_layers": 2, "n_heads": 6, "norm_eps": 1e-5, "cap_feat_dim": 256, "rope_theta": 256.0,
    "t_scale": 1000.0, "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512]}"#;

const VAE: &str = r#"{"latent_channels": 16, "out_channels": 3, "block_out_channels": [64, 128, 256, 256],
    "layers_per_block": 2, "norm_num_groups": 32, "scaling_factor": 0.3611, "shift_factor": 0.1159}"#;

fn main() {
    divan::main();
}

fn config<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).expect("a configuration as the model's files have it")
}

fn weights() -> (Weights, DeviceMemory) {
    (Weights::random(DType::F32, &Device::Cpu), DeviceMemory::new(&Device::Cpu, None))
}

/// Noise for a square picture of `side` pixels.
fn latents(side: usize) -> Tensor {
    Tensor::randn(0_f32, 1.0, (1, 16, side / 8, side / 8), &Device::Cpu).expect("noise")
}

#[divan::bench(args = [256, 512], sample_count = 5, sample_size = 1)]
fn transformer_step(bencher: divan::Bencher, side: usize) {
    step(bencher, side, weights());
}

/// As with `kind = "cpu-bf16"`.
#[divan::bench(args = [256, 512], sample_count = 5, sample_size = 1)]
fn transformer_step_bf16(bencher: divan::Bencher, side: usize) {
    let (weights, memory) = weights();
    step(bencher, side, (weights.with_bf16_matrices(), memory));
}

fn step(bencher: divan::Bencher, side: usize, (weights, memory): (Weights, DeviceMemory)) {
    let mut transformer =
        Transformer::new(&config(TRANSFORMER), &weights, &memory).expect("a transformer");
    transformer.place_weights(usize::MAX).expect("random weights");
    let caption =
        Tensor::randn(0_f32, 1.0, (CAPTION_TOKENS, CAPTION_DIM), &Device::Cpu).expect("a caption");
    let conditioning =
        transformer.condition(&caption, side / 8, side / 8).expect("a refined caption");
    let latents = latents(side);
    let times = transformer.times(&[0.5]).expect("a time");
    bencher.bench_local(|| {
        transformer.forward(&latents, (&times, 0), &conditioning).expect("a velocity")
    });
}

#[divan::bench(args = [256, 512], sample_count = 5, sample_size = 1)]
fn vae_decode(bencher: divan::Bencher, side: usize) {
    let (weights, memory) = weights();
    let decoder = Decoder::new(&config(VAE), &weights, &memory).expect("a decoder");
    let latents = latents(side);
    bencher.bench_local(|| decoder.decode(&latents).expect("a picture"));
}

const RANK: usize = 32;

/// A usual LoRA of Z-Image-Turbo: attention and feed-forward of all blocks, 159 MB of bf16.
fn write_lora(path: &Path) {
    let (dim, hidden) = (3840, 10_240);
    let modules = ["attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0"];
    let modules = modules.map(|module| (module, dim, dim)).into_iter().chain([
        ("feed_forward.w1", dim, hidden),
        ("feed_forward.w2", hidden, dim),
        ("feed_forward.w3", dim, hidden),
    ]);
    let modules: Vec<_> = modules.collect();
    let mut tensors = HashMap::new();
    let matrix =
        |shape: (usize, usize)| Tensor::ones(shape, DType::BF16, &Device::Cpu).expect("a matrix");
    for (stack, blocks) in [("layers", 30), ("noise_refiner", 2), ("context_refiner", 2)] {
        for block in 0..blocks {
            for (module, inputs, outputs) in &modules {
                let module = format!("diffusion_model.{stack}.{block}.{module}");
                tensors.insert(format!("{module}.lora_A.weight"), matrix((RANK, *inputs)));
                tensors.insert(format!("{module}.lora_B.weight"), matrix((*outputs, RANK)));
            }
        }
    }
    candle_core::safetensors::save(&tensors, path).expect("a writable folder");
}

/// From a file that the system has in memory to where the device computes. Its hash is known from
/// the first time.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn lora_change(bencher: divan::Bencher) {
    let file =
        std::env::temp_dir().join(format!("zimaged-bench-{}.safetensors", std::process::id()));
    write_lora(&file);
    let modules = LoraModules::of(&turbo().transformer);
    bencher.bench_local(|| {
        let file = LoraFile::read(&file, &modules).expect("a LoRA of Turbo");
        let loaded = LoadedLora::load(&file, "", &modules, &Device::Cpu);
        loaded.map_err(|_| "no room").expect("a LoRA in memory")
    });
    std::fs::remove_file(file).expect("its own file");
}
