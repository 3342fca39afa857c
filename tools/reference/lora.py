"""Makes LoRAs of all kinds for the model that tiny.py has made, and what peft and lycoris compute with them, unmerged.

    python tools/reference/lora.py MODEL tests/data/lora

MODEL is the folder `model` of the reference. Each `NAME.safetensors` is a file as the trainer writes it; `expected.safetensors` has
the latents after two steps with each of them, by these names.
"""

import json
import pathlib
import sys

import torch
from diffusers import ZImagePipeline
from lycoris import LycorisNetwork, create_lycoris
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

import compute

THREADS = 2
CASE = {"prompt": "a red fox in fresh snow, golden hour", "height": 64, "width": 64, "steps": 2, "guidance": 0.0, "seed": 5}
RANK = 3
# Of what is computed once more with another weight than 1.
WEIGHT = 0.4
MODULES = ["layers.0.attention.to_q", "layers.1.attention.to_out.0", "layers.0.feed_forward.w1", "layers.2.feed_forward.w2",
           "noise_refiner.0.attention.to_v", "context_refiner.1.feed_forward.w3", "layers.1.adaLN_modulation.0"]

PEFT = {
    "peft_alpha": {"lora_alpha": 6, "alpha_pattern": {"layers.0.attention.to_q": 2}},
    "peft_rslora": {"lora_alpha": 4, "use_rslora": True},
    "peft_dora": {"lora_alpha": 3, "use_dora": True},
}
LYCORIS = {
    "lycoris_locon": {"algo": "locon"},
    "lycoris_loha": {"algo": "loha"},
    "lycoris_lokr": {"algo": "lokr", "factor": 4},
    "lycoris_lokr_small": {"algo": "lokr", "factor": 16, "decompose_both": True},
    "lycoris_lokr_whole": {"algo": "lokr", "factor": 8, "full_matrix": True},
    "lycoris_dora_rows": {"algo": "locon", "dora_wd": True, "wd_on_output": True},
    "lycoris_dora_columns": {"algo": "locon", "dora_wd": True, "wd_on_output": False},
    "lycoris_lokr_dora": {"algo": "lokr", "factor": 4, "dora_wd": True, "wd_on_output": True},
    "lycoris_full": {"algo": "full"},
}


def fill(parameters, seed):
    """What a trainer begins with adds nothing: random values instead."""
    generator = torch.Generator("cpu").manual_seed(seed)
    for name, parameter in parameters:
        if any(part in name for part in ("lora_", "hada_", "lokr_")) and "magnitude" not in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * (0.15 if "lora_" in name else 0.5)
        elif "magnitude" in name or "dora_scale" in name:
            parameter.data = parameter.data * (0.8 + 0.4 * torch.rand(parameter.shape, generator=generator))


def save(folder, name, tensors, metadata=None):
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors", metadata)


def with_peft(pipe, folder, name, settings, seed):
    config = LoraConfig(r=RANK, target_modules=MODULES, **settings)
    pipe.transformer.add_adapter(config)
    fill(pipe.transformer.named_parameters(), seed)
    found = {name: compute.denoise(pipe, CASE)["latents"]}
    if settings.get("use_dora"):
        pipe.transformer.set_adapters(["default"], [WEIGHT])
        found[f"{name}_weighed"] = compute.denoise(pipe, CASE)["latents"]
    told = {f"transformer.{key}": value for key, value in config.to_dict().items() if key in ("r", *settings)}
    tensors = get_peft_model_state_dict(pipe.transformer)
    save(folder, name, {f"transformer.{key}": value for key, value in tensors.items()},
         {"format": "pt", "lora_adapter_metadata": json.dumps(told)})
    pipe.transformer.delete_adapters("default")
    return found


def with_lycoris(pipe, folder, name, settings, seed):
    modules = MODULES[:1] if settings["algo"] == "full" else MODULES
    LycorisNetwork.apply_preset({"target_module": [], "target_name": modules, "enable_conv": False})
    network = create_lycoris(pipe.transformer, 1.0, linear_dim=RANK, linear_alpha=2, **settings)
    network.apply_to()
    if settings["algo"] == "full":
        generator = torch.Generator("cpu").manual_seed(seed)
        for lora in network.loras:
            lora.weight.data += torch.randn(lora.weight.shape, generator=generator) * 0.03
    fill(network.named_parameters(), seed)
    network.eval()
    assert len(network.loras) == len(modules), [lora.lora_name for lora in network.loras]
    found = {name: compute.denoise(pipe, CASE)["latents"]}
    save(folder, name, network.state_dict())
    network.restore()
    return found


@torch.no_grad()
def main(model, folder):
    torch.set_num_threads(THREADS)
    folder = pathlib.Path(folder)
    expected = {}
    makers = [(with_peft, PEFT), (with_lycoris, LYCORIS)]
    for maker, kinds in makers:
        for seed, (name, settings) in enumerate(kinds.items(), 20):
            pipe = ZImagePipeline.from_pretrained(model, torch_dtype=torch.float32)
            pipe.set_progress_bar_config(disable=True)
            expected |= maker(pipe, folder, name, settings, seed)
    plain = compute.denoise(pipe, CASE)["latents"]
    for name, found in expected.items():
        print(name, float((found - plain).norm() / plain.norm()))
    save(folder, "expected", expected | {"plain": plain})


if __name__ == "__main__":
    main(*sys.argv[1:])
