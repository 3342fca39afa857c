"""Stage 5: the trained parts as a pipeline folder in the hub's layout, weights in f16."""

import json
import os
import shutil

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import flow
import text
import vae
from common import load_checkpoint

DEFAULTS = {"name": "zimage-mini", "width": 256, "height": 256, "steps": 8, "guidance": 0.0}
INDEX = {
    "_class_name": "ZImagePipeline",
    "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3Model"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "transformer": ["diffusers", "ZImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
LIMIT_BYTES = 16_000_000


def averaged_parts(work, words):
    """The transformer and the encoder with the averaged weights of the last checkpoint, and the latents' scale."""
    state = load_checkpoint(f"{work}/flow.pt")["average"]
    model, encoder = flow.build(), text.build(words.size())
    for part, prefix in ((model, "model."), (encoder, "encoder.")):
        part.load_state_dict({k[len(prefix):]: v for k, v in state.items() if k.startswith(prefix)})
    data = load_checkpoint(f"{work}/latents.pt")
    return model.eval(), encoder.eval(), data["shift"], data["scale"]


@torch.no_grad()
def export(work, folder):
    """Write the pipeline; refuse one that is larger than the repository allows."""
    words = text.Words(f"{work}/tokenizer")
    model, encoder, shift, scale = averaged_parts(work, words)
    decoder = vae.load(work)
    decoder.register_to_config(shift_factor=shift, scaling_factor=scale)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model.half().save_pretrained(f"{folder}/transformer")
    encoder.half().save_pretrained(f"{folder}/text_encoder")
    decoder.half().save_pretrained(f"{folder}/vae")
    FlowMatchEulerDiscreteScheduler(shift=flow.SHIFT).save_pretrained(f"{folder}/scheduler")
    shutil.copytree(f"{work}/tokenizer", f"{folder}/tokenizer")
    for name, content in (("model_index.json", INDEX), ("zimaged.json", DEFAULTS)):
        with open(f"{folder}/{name}", "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
    total = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)
    assert total <= LIMIT_BYTES, f"{total} bytes are more than {LIMIT_BYTES}"
    print(f"{folder}: {total} bytes", flush=True)
