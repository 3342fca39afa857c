"""Makes what diffusers computes of pictures as input, with the model that tiny.py has made.

    python tools/reference/inpaint.py MODEL tests/data/reference

MODEL is the folder `model` of the reference. Written are `inpaint.safetensors`, with one case of inpainting from the middle
of the schedule, and the two pictures that it begins with, which are resized on their way: the first is smaller than the
render in one direction and larger in the other.
"""

import pathlib
import sys

import numpy
import torch
from diffusers import ZImageInpaintPipeline
from PIL import Image
from safetensors.torch import save_file

import compute

THREADS = 2
CASE = {"prompt": "a stained glass window", "height": 64, "width": 96, "steps": 6, "guidance": 2.0, "seed": 11,
        "negative": "blurry"}
STRENGTH = 0.7


def drawing():
    """Slopes, a disc and a hard edge, in colours."""
    y, x = numpy.mgrid[0:100, 0:80]
    disc = (x - 30) ** 2 + (y - 40) ** 2 < 400
    channels = [x * 3, numpy.where(disc, 230, 20), numpy.where(x > 50, 255 - y, y)]
    return Image.fromarray(numpy.stack(channels, -1).astype("uint8"))


def painted_over():
    """A coloured mask of which the grey decides: a dark half, a slope, a bright disc."""
    y, x = numpy.mgrid[0:130, 0:200]
    disc = (x - 150) ** 2 + (y - 80) ** 2 < 900
    channels = [numpy.where(disc, 250, x), numpy.where(disc, 250, y), numpy.where(x > 100, 200, 0)]
    return Image.fromarray(numpy.stack(channels, -1).astype("uint8"))


@torch.no_grad()
def main(model, folder):
    torch.set_num_threads(THREADS)
    folder = pathlib.Path(folder)
    pipe = ZImageInpaintPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    picture, mask = drawing(), painted_over()
    picture.save(folder / "inpaint_init.png")
    mask.save(folder / "inpaint_mask.png")
    size = {"height": CASE["height"], "width": CASE["width"]}
    values = pipe.image_processor.preprocess(picture, **size)
    mask_values = pipe.mask_processor.preprocess(mask, **size)
    found = compute.embeddings(pipe, CASE)
    # The pipeline takes the picture in the size of the render only, so it is resized beforehand, as img2img resizes.
    resized = picture.resize((CASE["width"], CASE["height"]), Image.Resampling.LANCZOS)
    found |= compute.denoise(pipe, CASE, image=resized, mask_image=mask, strength=STRENGTH)
    posterior = pipe.vae.encode(values).latent_dist
    levels = ((values / 2 + 0.5) * 255).round().to(torch.uint8)[0].permute(1, 2, 0)
    found |= {"picture": levels, "mask": mask_values[0, 0].to(torch.uint8), "mean": posterior.mean,
              "deviation": posterior.std}
    found["decoded"], found["pixels"] = compute.decode(pipe.vae, found["latents"])
    save_file(compute.contiguous(found), folder / "inpaint.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
