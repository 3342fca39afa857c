"""What diffusers takes for the same sizes on the same card: python3 torch_times.py SECONDS, which are all it may take.

Random weights of the real model's size, bf16. A step is one forward pass of the transformer.
"""

import statistics
import sys
import time

try:
    import torch
    from diffusers import AutoencoderKL, ZImageTransformer2DModel
except ImportError as missing:
    sys.exit(f"\nno times of torch: {missing}")

SIZES = ((512, 512), (768, 768), (1024, 576), (1024, 1024), (1536, 1536), (2048, 2048))
CAPTION_TOKENS = 32
RUNS = 5


def milliseconds(work):
    """The median of some runs, after two that warm up."""
    work(), work()
    times = []
    for _ in range(RUNS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def made(model):
    """On the card, in bf16, with small random weights."""
    model = model.to(torch.bfloat16).to_empty(device="cuda")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


@torch.no_grad()
def main(seconds):
    deadline = time.monotonic() + seconds
    with torch.device("meta"):
        transformer = ZImageTransformer2DModel()
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=16, norm_num_groups=32,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    vae = made(vae)
    transformer = made(transformer)
    # Buffers that a model on "meta" lacks are made anew.
    transformer.rope_embedder.freqs_cis = None
    compiled = torch.compile(transformer)
    caption = torch.randn(CAPTION_TOKENS, 2560, device="cuda", dtype=torch.bfloat16)
    print(f"\ntorch {torch.__version__}, a forward pass and a decode\n")
    print("| size | step, ms | compiled | decode, ms |\n| --- | --- | --- | --- |", flush=True)
    for width, height in SIZES:
        if time.monotonic() > deadline:
            break
        latents = torch.randn(16, 1, height // 8, width // 8, device="cuda", dtype=torch.bfloat16)
        at = torch.tensor([0.5], device="cuda", dtype=torch.bfloat16)
        step = milliseconds(lambda: transformer([latents], at, [caption]))
        decode = milliseconds(lambda: vae.decode(latents[:, 0].unsqueeze(0)))
        fast = "-"
        if (width, height) == (1024, 1024):
            fast = f"{milliseconds(lambda: compiled([latents], at, [caption])):.1f}"
        print(f"| {width}x{height} | {step:.1f} | {fast} | {decode:.1f} |", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
