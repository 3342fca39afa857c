"""Weights in few bits, and the floats that their own programs make of them.

Writes int8.safetensors (comfy-kitchen: rows with a scale each, two of them rotated by ConvRot), blocks.gguf (gguf:
every format of llama.cpp's that is read) and expected.safetensors into the folder that is named.
"""

import json
import sys
from pathlib import Path

import comfy_kitchen  # noqa: F401  registers its operators
import gguf
import numpy
import torch
from comfy_kitchen.tensor.int8 import TensorWiseINT8Layout
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

# Bytes of a block, and where its scales are, which must be finite: 16-bit floats.
K_BLOCKS = {
    Type.Q2_K: (84, [80, 82]),
    Type.Q3_K: (110, [108]),
    Type.Q4_K: (144, [0, 2]),
    Type.Q5_K: (176, [0, 2]),
    Type.Q6_K: (210, [208]),
}
SIMPLE = [Type.Q8_0, Type.Q5_0, Type.Q5_1, Type.Q4_0, Type.Q4_1, Type.BF16, Type.F16]
ROWS, COLUMNS = 3, 512
LAYERS = ["to_q", "to_k", "to_v"]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20)
    expected = int8(folder / "int8.safetensors")
    expected |= blocks(folder / "blocks.gguf", numpy.random.default_rng(20))
    save_file(expected, folder / "expected.safetensors")


def int8(path: Path) -> dict[str, torch.Tensor]:
    stored, expected = {}, {}
    for layer, group in zip(LAYERS, [None, 256, 64], strict=True):
        name = f"layers.0.attention.{layer}"
        weight = torch.randn(ROWS, COLUMNS)
        options = {"convrot": True, "convrot_groupsize": group} if group else {}
        data, params = TensorWiseINT8Layout.quantize(weight, is_weight=True, per_channel=True, **options)
        stored[f"{name}.weight"] = data
        stored[f"{name}.weight_scale"] = params.scale
        mark = json.dumps({"format": "int8_tensorwise", **options}).encode()
        stored[f"{name}.comfy_quant"] = torch.tensor(list(mark), dtype=torch.uint8)
        expected[f"{name}.weight"] = TensorWiseINT8Layout.dequantize(data, params).float().contiguous()
    save_file(stored, path)
    return expected


def blocks(path: Path, random: numpy.random.Generator) -> dict[str, torch.Tensor]:
    writer = gguf.GGUFWriter(path, "lumina2")
    expected = {}
    for number, kind in enumerate([*SIMPLE, *K_BLOCKS]):
        name = f"layers.{number}.attention.out.weight"
        if kind in K_BLOCKS:
            data = random_blocks(kind, random)
        else:
            data = gguf.quants.quantize(random.standard_normal((ROWS, COLUMNS), numpy.float32), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        expected[f"{kind.name}"] = torch.from_numpy(gguf.quants.dequantize(data, kind).reshape(ROWS, COLUMNS).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def random_blocks(kind: Type, random: numpy.random.Generator) -> numpy.ndarray:
    """Any bits are a block, as long as its scales are numbers."""
    size, scales = K_BLOCKS[kind]
    data = random.integers(0, 256, (ROWS, COLUMNS // 256, size), numpy.uint8)
    for at in scales:
        scale = random.uniform(0.001, 0.1, data.shape[:2]).astype(numpy.float16)
        data[:, :, at : at + 2] = scale[..., None].view(numpy.uint8)
    return data.reshape(ROWS, -1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
