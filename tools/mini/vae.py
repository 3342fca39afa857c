"""Stage 1: the autoencoder between pictures and latents.

Flux's layout (16 latent channels, no quant convolutions, attention in the middle), but shrinking by 16: with the
transformer's patch of 2 a picture of 256x256 has 64 tokens. Few channels at full size, since those decide the time.
"""

import random

import numpy
import torch
from diffusers import AutoencoderKL

import scenes
from common import (Average, Budget, Log, Optimiser, average_gradients, learning_rate, load_checkpoint, rank, save_checkpoint)

CHANNELS = (16, 16, 32, 64, 96)
CROP = 64
WHOLE = 0.25  # the part of the budget after which whole pictures replace crops
KL_WEIGHT = 5e-4
PEAK_RATE = {"vae": 6e-3, "decoder": 1e-3}


def build():
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=16, block_out_channels=CHANNELS, layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS), use_quant_conv=False, use_post_quant_conv=False,
        sample_size=256, scaling_factor=1.0, shift_factor=0.0)


def to_tensor(pictures):
    """PIL pictures of one size as (N, 3, H, W), -1..1."""
    return torch.from_numpy(numpy.stack([numpy.asarray(p) for p in pictures])).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(decoded):
    """The other way, as the pipeline does it: (N, H, W, 3) bytes."""
    return ((decoded.float() / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def batch(rng, progress):
    """Small crops first, which are cheap and mostly edges; then whole pictures, whose norms see the whole picture."""
    if progress > WHOLE:
        width, height = rng.choice(scenes.PICTURE_SIZES)
        return to_tensor([scenes.draw(scenes.random_scene(rng, 0.35), width, height, rng) for _ in range(3)])
    crops = []
    for _ in range(5):
        picture = numpy.asarray(scenes.draw(scenes.random_scene(rng, 0.5), 256, 256, rng))
        crops += [busiest_crop(picture, rng) for _ in range(4)]
    return to_tensor(crops)


def busiest_crop(picture, rng):
    """The one of four random crops with the most in it: most of a flat picture teaches nothing."""
    corners = [(rng.randrange(0, 257 - CROP), rng.randrange(0, 257 - CROP)) for _ in range(4)]
    crops = [picture[top:top + CROP, left:left + CROP] for top, left in corners]
    return max(crops, key=lambda crop: crop[::4, ::4].std(axis=(0, 1)).sum())


def edges(x):
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def interest(picture):
    """Weights of the pixels, 1 on average: what is not of the corner's colour counts nine times as much.

    Most pixels are ground. Without this the colours of small shapes are learnt last.
    """
    other = (picture - picture[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0.1
    weight = 1 + 8 * other.float()
    return weight / weight.mean((2, 3), keepdim=True)


def reconstruction_loss(out, picture):
    """L1 for exact flat colours, L2 for pixels that are far off, and L1 of differences for crisp edges."""
    difference, weight = out - picture, interest(picture)
    loss = (weight * (difference.abs() + 0.5 * difference.square())).mean()
    for ours, theirs in zip(edges(out), edges(picture)):
        loss = loss + 0.5 * (ours - theirs).abs().mean()
    return loss


def train(stage, minutes, work, log_folder, device):
    """Train to the time budget; resume from the stage's checkpoint in `work`.

    Stage "vae" trains both halves. Stage "decoder" keeps the encoder, and so the latents, as they are and makes the
    decoder crisp: it may run beside the transformer's training.
    """
    path, both = f"{work}/{stage}.pt", stage == "vae"
    torch.manual_seed(0)
    model = (build() if both else load(work, ("vae",)).train().requires_grad_(True)).to(device)
    parameters = list((model if both else model.decoder).parameters())
    average = Average(model, 0.98)
    optimiser = Optimiser([p for p in parameters if p.ndim >= 2 and min(p.shape[:2]) > 3],
                          [p for p in parameters if p.ndim < 2 or min(p.shape[:2]) <= 3], weight_decay=0.001)
    budget, step = Budget(minutes), 0
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        budget, step = Budget(minutes, state["spent"]), state["step"]
    log = Log(f"{log_folder}/{stage}.csv", ("loss", "l1", "kl"), every=25)
    rng = random.Random(step * 8 + rank())
    torch.manual_seed(step * 8 + rank())
    while budget.progress < 1:
        picture = batch(rng, budget.progress if both else 1.0).to(device)
        with torch.autocast(device, torch.bfloat16):
            with torch.set_grad_enabled(both):
                posterior = model.encode(picture).latent_dist
            out = model.decode(posterior.sample()).sample
        out, mean, logvar = out.float(), posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = reconstruction_loss(out, picture) + KL_WEIGHT * kl
        optimiser.zero_grad()
        loss.backward()
        average_gradients(parameters, budget)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step(learning_rate(PEAK_RATE[stage], budget.progress, step))
        average.update(model, step)
        budget.tick()
        log.add(step, budget, loss=loss.item(), l1=(out - picture).abs().mean().item(), kl=kl.item())
        step += 1
        if step % 50 == 0 or budget.progress >= 1:
            save_checkpoint(path, model=model.state_dict(), average=average.model.state_dict(),
                            optimiser=optimiser.state_dict(), spent=budget.spent, step=step)


def load(work, stages=("decoder", "vae")):
    """The averaged autoencoder of the first of the stages that has a checkpoint."""
    state = next(state for stage in stages if (state := load_checkpoint(f"{work}/{stage}.pt")))
    model = build()
    model.load_state_dict(state["average"])
    return model.eval().requires_grad_(False)
