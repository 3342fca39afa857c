"""A model folder of Z-Image-Turbo's full size with random weights in bf16: python3 random_model.py FOLDER TOKENIZER [--zeros]

Matrices keep the size of what goes through them, vectors are ones: pictures are noise, but time and memory are the real
model's. TOKENIZER is a folder with a tokenizer.json that knows the chat template. Nothing is done where FOLDER is whole. With --zeros the weights are zeros that take no room on the disk,
for where only bytes count.
"""

import array
import json
import os
import random
import shutil
import struct
import sys

TRANSFORMER = {
    "all_patch_size": [2], "all_f_patch_size": [1], "in_channels": 16, "dim": 3840, "n_layers": 30,
    "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, "norm_eps": 1e-5, "qk_norm": True, "cap_feat_dim": 2560,
    "rope_theta": 256.0, "t_scale": 1000.0, "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512]}
TEXT_ENCODER = {
    "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-6, "rope_theta": 1000000}
VAE = {
    "latent_channels": 16, "out_channels": 3, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
    "norm_num_groups": 32, "scaling_factor": 0.3611, "shift_factor": 0.1159, "use_post_quant_conv": False}
SCHEDULE = {"num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": False}

# Random numbers are dear in Python: so many are drawn, and repeated.
DRAWN = 1 << 18


def transformer():
    dim, hidden, cond = 3840, 10240, 256
    tensors = {
        "t_embedder.mlp.0.weight": [1024, 256], "t_embedder.mlp.0.bias": [1024],
        "t_embedder.mlp.2.weight": [cond, 1024], "t_embedder.mlp.2.bias": [cond],
        "cap_embedder.0.weight": [2560], "cap_embedder.1.weight": [dim, 2560], "cap_embedder.1.bias": [dim],
        "cap_pad_token": [1, dim], "x_pad_token": [1, dim],
        "all_x_embedder.2-1.weight": [dim, 64], "all_x_embedder.2-1.bias": [dim],
        "all_final_layer.2-1.adaLN_modulation.1.weight": [dim, cond], "all_final_layer.2-1.adaLN_modulation.1.bias": [dim],
        "all_final_layer.2-1.linear.weight": [64, dim], "all_final_layer.2-1.linear.bias": [64]}
    blocks = [(f"context_refiner.{i}", False) for i in range(2)]
    blocks += [(f"noise_refiner.{i}", True) for i in range(2)] + [(f"layers.{i}", True) for i in range(30)]
    for name, modulated in blocks:
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            tensors[f"{name}.attention.{part}.weight"] = [dim, dim]
        tensors |= {f"{name}.attention.norm_{part}.weight": [128] for part in "qk"}
        tensors |= {f"{name}.{norm}.weight": [dim] for norm in (
            "attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2")}
        tensors |= {f"{name}.feed_forward.w{i}.weight": [dim, hidden] if i == 2 else [hidden, dim] for i in (1, 2, 3)}
        if modulated:
            tensors[f"{name}.adaLN_modulation.0.weight"] = [4 * dim, cond]
            tensors[f"{name}.adaLN_modulation.0.bias"] = [4 * dim]
    return tensors


def text_encoder():
    tensors = {"model.embed_tokens.weight": [151936, 2560], "model.norm.weight": [2560]}
    for i in range(36):
        name = f"model.layers.{i}"
        tensors |= {
            f"{name}.input_layernorm.weight": [2560], f"{name}.post_attention_layernorm.weight": [2560],
            f"{name}.self_attn.q_proj.weight": [4096, 2560], f"{name}.self_attn.k_proj.weight": [1024, 2560],
            f"{name}.self_attn.v_proj.weight": [1024, 2560], f"{name}.self_attn.o_proj.weight": [2560, 4096],
            f"{name}.self_attn.q_norm.weight": [128], f"{name}.self_attn.k_norm.weight": [128],
            f"{name}.mlp.gate_proj.weight": [9728, 2560], f"{name}.mlp.up_proj.weight": [9728, 2560],
            f"{name}.mlp.down_proj.weight": [2560, 9728]}
    return tensors


def vae():
    def conv(name, inputs, outputs, kernel):
        return {f"{name}.weight": [outputs, inputs, kernel, kernel], f"{name}.bias": [outputs]}

    def norm(name, channels):
        return {f"{name}.weight": [channels], f"{name}.bias": [channels]}

    def resnet(name, inputs, outputs):
        tensors = norm(f"{name}.norm1", inputs) | conv(f"{name}.conv1", inputs, outputs, 3)
        tensors |= norm(f"{name}.norm2", outputs) | conv(f"{name}.conv2", outputs, outputs, 3)
        return tensors | (conv(f"{name}.conv_shortcut", inputs, outputs, 1) if inputs != outputs else {})

    tensors = conv("decoder.conv_in", 16, 512, 3) | norm("decoder.conv_norm_out", 128)
    tensors |= conv("decoder.conv_out", 128, 3, 3)
    for i in range(2):
        tensors |= resnet(f"decoder.mid_block.resnets.{i}", 512, 512)
    tensors |= norm("decoder.mid_block.attentions.0.group_norm", 512)
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        name = f"decoder.mid_block.attentions.0.{part}"
        tensors |= {f"{name}.weight": [512, 512], f"{name}.bias": [512]}
    channels = [512, 512, 256, 128]
    for block, outputs in enumerate(channels):
        for i in range(3):
            inputs = channels[max(block - 1, 0)] if i == 0 else outputs
            tensors |= resnet(f"decoder.up_blocks.{block}.resnets.{i}", inputs, outputs)
        if block < 3:
            tensors |= conv(f"decoder.up_blocks.{block}.upsamplers.0.conv", outputs, outputs, 3)
    return tensors


def bf16(values):
    """The upper halves of f32 values, as bytes."""
    words = array.array("H", struct.pack(f"<{len(values)}f", *values))
    return words[1::2].tobytes()


class Blocks:
    """Bytes of many values of one scale, made once each."""

    def __init__(self):
        rng = random.Random(1)
        self.drawn = [rng.gauss(0.0, 1.0) for _ in range(DRAWN)]
        self.known = {}

    def of(self, shape):
        if len(shape) == 1:
            if 1 not in self.known:
                self.known[1] = bf16([1.0] * DRAWN)
            return self.known[1]
        inputs = 1
        for side in shape[1:]:
            inputs *= side
        if inputs not in self.known:
            self.known[inputs] = bf16([value * inputs ** -0.5 for value in self.drawn])
        return self.known[inputs]


def write(path, tensors, blocks):
    """One safetensors file; without blocks, a hole in place of the values."""
    header, offset, sizes = {}, 0, []
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        sizes.append((shape, size))
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "wb", buffering=1 << 22) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        if blocks is None:
            file.truncate(8 + len(text) + offset)
            sizes = []
        for shape, size in sizes:
            block = blocks.of(shape)
            for _ in range(size // len(block)):
                file.write(block)
            file.write(block[:size % len(block)])
    os.rename(path + ".part", path)


def main(folder, tokenizer, kind=None):
    parts = [
        ("transformer/diffusion_pytorch_model.safetensors", transformer),
        ("text_encoder/model.safetensors", text_encoder), ("vae/diffusion_pytorch_model.safetensors", vae)]
    missing = [(name, tensors) for name, tensors in parts if not os.path.exists(f"{folder}/{name}")]
    blocks = Blocks() if missing and kind != "--zeros" else None
    for name, tensors in missing:
        print(f"writing {folder}/{name}", flush=True)
        write(f"{folder}/{name}", tensors(), blocks)
    configs = [
        ("model_index.json", {"_class_name": "ZImagePipeline"}), ("transformer/config.json", TRANSFORMER),
        ("text_encoder/config.json", TEXT_ENCODER), ("vae/config.json", VAE),
        ("scheduler/scheduler_config.json", SCHEDULE), ("zimaged.json", {"name": "random weights of Turbo's size"})]
    for name, config in configs:
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "w") as file:
            json.dump(config, file)
    shutil.copytree(tokenizer, f"{folder}/tokenizer", dirs_exist_ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
