"""What diffusers computes with the miniature model, in f32 on a CPU: the numbers that the engine is tested against.

    python tools/reference/mini.py models/mini tests/data/mini

Writes cases.json (the inputs), NAME.safetensors for each case (what passes between the parts of the pipeline; the
templated prompt as metadata) and NAME.png (the picture).
"""

import json
import pathlib
import sys

import torch
from diffusers import ZImagePipeline
from PIL import Image
from safetensors.torch import save_file

import compute

THREADS = 2

CASES = (
    {"name": "square", "prompt": "a large red circle at the top left on a blue background",
     "height": 256, "width": 256, "steps": 8, "guidance": 0.0, "seed": 42},
    {"name": "tall_chinese", "prompt": "绿色背景右边有一个黄色五角星",
     "height": 256, "width": 192, "steps": 8, "guidance": 0.0, "seed": 7},
    {"name": "wide", "prompt": "the sea at dusk, a red boat on the left, the sun",
     "height": 192, "width": 256, "steps": 8, "guidance": 0.0, "seed": 3},
    {"name": "guided", "prompt": "一个大白色心形，左边，紫色背景", "negative": "红色，模糊",
     "height": 256, "width": 256, "steps": 6, "guidance": 1.5, "seed": 123},
    {"name": "stranger", "prompt": "一只金毛犬，阳光草地，高清照片 🐕",
     "height": 256, "width": 256, "steps": 4, "guidance": 0.0, "seed": 9},
)


def write_case(pipe, case, folder):
    tensors = {**compute.embeddings(pipe, case), "noise": compute.noise(pipe, case), **compute.denoise(pipe, case)}
    _, pixels = compute.decode(pipe.vae, tensors["latents"])
    text = compute.templated(pipe, case["prompt"])
    save_file(compute.contiguous(tensors), folder / f"{case['name']}.safetensors", metadata={"text": text})
    Image.fromarray(pixels[0].numpy()).save(folder / f"{case['name']}.png", optimize=True)


@torch.no_grad()
def main(model, folder):
    torch.set_num_threads(THREADS)
    pipe = ZImagePipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        write_case(pipe, case, folder)
    (folder / "cases.json").write_text(json.dumps({"cases": CASES}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
