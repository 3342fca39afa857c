"""Makes the reference: a tiny Z-Image pipeline with random weights, and what diffusers computes with it.

    pip install -r tools/reference/requirements.txt
    python tools/reference/tiny.py TOKENIZER FOLDER

TOKENIZER is the folder `tokenizer` of Z-Image-Turbo. `tiny.json` has the dimensions and the cases. All weights come
from seeded CPU generators and all sums from a fixed number of threads, so that a second run writes the same bytes.
"""

import json
import pathlib
import sys

import numpy
import torch
from diffusers import (AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImageImg2ImgPipeline, ZImagePipeline,
                       ZImageTransformer2DModel)
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

import compute

THREADS = 2
SHARD = "4MB"
LORA_RANK = 4
LORA_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "w1", "w2", "w3")
NOISE_SEEDS = (0, 42, 2**32 + 5)
NOISE_COUNTS = (16, 17, 31, 1000, 16384)


def fill(module, seed, gain):
    """Random weights under which values keep their size from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        values = torch.randn(weight.shape, generator=generator)
        if weight.ndim >= 2:
            weight.copy_(values * gain / weight[0].numel() ** 0.5)
        elif "norm" in name and name.endswith("weight"):
            weight.copy_(1 + 0.2 * values)
        else:
            weight.copy_(0.1 * values)
    return module


def text_encoder(config):
    """bf16 as the published one is, computed in f32."""
    return fill(Qwen3Model(Qwen3Config(**config)), 1, 1.3).to(torch.bfloat16)


def transformer(config):
    model = fill(ZImageTransformer2DModel(**config), 2, 1.3)
    model.x_pad_token.copy_(0.5 * compute.random(model.x_pad_token.shape, 7))
    model.cap_pad_token.copy_(0.5 * compute.random(model.cap_pad_token.shape, 8))
    return model


def pipeline(plan, tokenizer):
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False)
    pipe = ZImagePipeline(
        scheduler=scheduler, tokenizer=AutoTokenizer.from_pretrained(tokenizer),
        text_encoder=text_encoder(plan["text_encoder"]), transformer=transformer(plan["transformer"]),
        vae=fill(AutoencoderKL(**plan["vae"]), 3, 1.2))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def lora(model):
    """An adapter for every linear layer of the main blocks, named as diffusers names them."""
    generator = torch.Generator().manual_seed(11)
    weights = {}
    for name, layer in model.named_modules():
        wanted = name.startswith("layers.") and any(part in name for part in LORA_LAYERS)
        if wanted and isinstance(layer, torch.nn.Linear):
            down = torch.randn(LORA_RANK, layer.in_features, generator=generator) * 0.3
            up = torch.randn(layer.out_features, LORA_RANK, generator=generator) * 0.05
            weights |= {f"transformer.{name}.lora_A.weight": down, f"transformer.{name}.lora_B.weight": up}
    return weights


def drawing(height, width):
    """The picture that an image-to-image case begins with: two slopes and a chessboard."""
    y, x = numpy.mgrid[0:height, 0:width]
    channels = [x * 255 // width, y * 255 // height, (x // 8 + y // 8) % 2 * 255]
    return Image.fromarray(numpy.stack(channels, -1).astype("uint8"))


def denoise(pipe, case, folder):
    """The case's denoising, with what it has beside a prompt: an adapter, or a picture to begin with."""
    more = {"cfg_normalization": case.get("cfg_normalization", False), "cfg_truncation": case.get("cfg_truncation", 1.0)}
    if "strength" in case:
        picture = drawing(case["height"], case["width"])
        picture.save(folder / f"{case['name']}_init.png")
        pipe = ZImageImg2ImgPipeline(**pipe.components)
        pipe.set_progress_bar_config(disable=True)
        return compute.denoise(pipe, case, image=picture, strength=case["strength"], **more)
    if "lora" in case:
        pipe.load_lora_weights(folder / "lora_diffusers.safetensors", adapter_name="a")
        pipe.set_adapters(["a"], [case["lora"]])
    found = {"noise": compute.noise(pipe, case), **compute.denoise(pipe, case, **more)}
    if "lora" in case:
        pipe.unload_lora_weights()
    return found


def write_case(pipe, case, folder):
    tensors = {**compute.embeddings(pipe, case), **denoise(pipe, case, folder)}
    tensors["decoded"], tensors["pixels"] = compute.decode(pipe.vae, tensors["latents"])
    text = compute.templated(pipe, case["prompt"])
    save_file(compute.contiguous(tensors), folder / f"{case['name']}.safetensors", metadata={"text": text})


@torch.no_grad()
def main(tokenizer, folder):
    torch.set_num_threads(THREADS)
    plan = json.loads(pathlib.Path(__file__).with_name("tiny.json").read_text())
    folder = pathlib.Path(folder)
    pipe = pipeline(plan, tokenizer)
    pipe.save_pretrained(folder / "model", max_shard_size=SHARD)
    pipe.text_encoder.to(torch.float32)
    save_file(lora(pipe.transformer), folder / "lora_diffusers.safetensors")
    for case in plan["cases"]:
        write_case(pipe, case, folder)
    (folder / "cases.json").write_text(json.dumps({"cases": plan["cases"]}, indent=1, ensure_ascii=False))
    noise = {f"seed{seed}_n{n}": compute.random(n, seed) for seed in NOISE_SEEDS for n in NOISE_COUNTS}
    save_file(noise, folder / "torch_cpu_randn.safetensors")
    print(f"the tests find it by: export ZIMAGED_REFERENCE={folder.resolve()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
