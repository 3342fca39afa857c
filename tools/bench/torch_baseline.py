#!/usr/bin/env python3
"""What torch takes for `cargo bench --bench engine`: the same sizes, random weights, f32 and bf16 on the CPU.

    pip install torch diffusers transformers
    python tools/bench/torch_baseline.py [threads, else 2]

Prints the fastest of five runs of each. For a fair ratio run both on the same idle machine, one after the other.
"""

import sys
import time

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel

SIDES = (256, 512)
CAPTION_TOKENS = 48
CAPTION_DIM = 256
RUNS = 5


def fastest(work):
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def transformer():
    return ZImageTransformer2DModel(
        in_channels=16, dim=768, n_layers=8, n_refiner_layers=2, n_heads=6, n_kv_heads=6, cap_feat_dim=CAPTION_DIM,
        axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512],
    ).eval()


def vae():
    return AutoencoderKL(
        block_out_channels=(64, 128, 256, 256), layers_per_block=2, latent_channels=16, norm_num_groups=32,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        use_quant_conv=False, use_post_quant_conv=False,
    ).eval()


def step_seconds(step, noise, caption):
    return fastest(lambda: step([noise[0].unsqueeze(1)], torch.tensor([0.5]), caption, return_dict=False))


@torch.inference_mode()
def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    step, decode = transformer(), vae().decode
    caption = [torch.randn(CAPTION_TOKENS, CAPTION_DIM)]
    noises = {side: torch.randn(1, 16, side // 8, side // 8) for side in SIDES}
    for side, noise in noises.items():
        print(f"transformer_step {side}: {step_seconds(step, noise, caption):.3f} s")
        seconds = fastest(lambda: decode(noise, return_dict=False))
        print(f"vae_decode {side}: {seconds:.3f} s")
    step, caption = step.bfloat16(), [caption[0].bfloat16()]
    for side, noise in noises.items():
        print(f"transformer_step_bf16 {side}: {step_seconds(step, noise.bfloat16(), caption):.3f} s")


if __name__ == "__main__":
    main()
