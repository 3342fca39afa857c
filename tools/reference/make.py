"""What diffusers computes with the miniature model, in f32 on a CPU: the numbers that the engine is tested against.

    python tools/reference/make.py models/mini tests/data/mini

Writes cases.json (the inputs), NAME.safetensors for each case (input_ids, prompt_embeds, negative_prompt_embeds where
guided, noise, sigmas, timesteps, latents_per_step, latents; the templated prompt as metadata) and NAME.png (the pixels).
"""

import json
import pathlib
import sys

import numpy
import torch
from diffusers import ZImagePipeline
from PIL import Image
from safetensors.torch import save_file

CASES = (
    {"name": "square", "prompt": "a large red circle at the top left on a blue background", "height": 256, "width": 256, "steps": 8, "guidance": 0.0, "seed": 42},
    {"name": "tall_chinese", "prompt": "绿色背景右边有一个黄色五角星", "height": 256, "width": 192, "steps": 8, "guidance": 0.0, "seed": 7},
    {"name": "wide", "prompt": "the sea at dusk, a red boat on the left, the sun", "height": 192, "width": 256, "steps": 8, "guidance": 0.0, "seed": 3},
    {"name": "guided", "prompt": "一个大白色心形，左边，紫色背景", "negative": "红色，模糊", "height": 256, "width": 256, "steps": 6, "guidance": 1.5, "seed": 123},
    {"name": "stranger", "prompt": "一只金毛犬，阳光草地，高清照片 🐕", "height": 256, "width": 256, "steps": 4, "guidance": 0.0, "seed": 9},
)


def compute(pipe, case):
    """Run the pipeline as a user would, keeping what passes between its parts."""
    generator = torch.Generator("cpu").manual_seed(case["seed"])
    factor = pipe.vae_scale_factor
    noise = torch.randn(1, 16, case["height"] // factor, case["width"] // factor, generator=torch.Generator("cpu").manual_seed(case["seed"]))
    steps = []
    embeds, negative = pipe.encode_prompt([case["prompt"]], device="cpu", do_classifier_free_guidance=case["guidance"] > 0,
                                          negative_prompt=[case["negative"]] if "negative" in case else None)
    result = pipe(
        case["prompt"], negative_prompt=case.get("negative"), height=case["height"], width=case["width"], num_inference_steps=case["steps"],
        guidance_scale=case["guidance"], generator=generator, output_type="pt",
        callback_on_step_end=lambda _pipe, _i, _t, values: steps.append(values["latents"].clone()) or {})
    text = pipe.tokenizer.apply_chat_template([{"role": "user", "content": case["prompt"]}], tokenize=False, add_generation_prompt=True, enable_thinking=True)
    pixels = (result.images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
    tensors = {
        "input_ids": torch.tensor(pipe.tokenizer(text).input_ids), "prompt_embeds": embeds[0], "noise": noise,
        "sigmas": pipe.scheduler.sigmas, "timesteps": pipe.scheduler.timesteps,
        "latents_per_step": torch.stack(steps), "latents": steps[-1]}
    if negative:
        tensors["negative_prompt_embeds"] = negative[0]
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, pixels[0].numpy(), text


def main(model, folder):
    torch.set_num_threads(2)
    pipe = ZImagePipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        with torch.no_grad():
            tensors, pixels, text = compute(pipe, case)
        save_file(tensors, folder / f"{case['name']}.safetensors", metadata={"text": text})
        Image.fromarray(numpy.ascontiguousarray(pixels)).save(folder / f"{case['name']}.png", optimize=True)
    (folder / "cases.json").write_text(json.dumps({"cases": CASES}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
