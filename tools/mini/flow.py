"""Stages 3 and 4: latents of drawn pictures, and the transformer that learns to make them from noise.

Flow matching in the pipeline's convention: x = (1 - sigma) * picture + sigma * noise, the model is given t = 1 - sigma
and answers picture - noise (the pipeline negates it). Most of the training's sigmas stand exactly on the eight-step
schedule that the model will be used with; the rest spread over the same shifted distribution, so that other numbers of
steps work too.
"""

import os
import random
import time

import torch
from diffusers import ZImageTransformer2DModel
from PIL import Image

import scenes
import text
import vae
from common import (Average, Budget, Log, Optimiser, average_gradients, learning_rate, load_checkpoint, rank, save_checkpoint)

DIM, HEADS, LAYERS = 192, 6, 5
BATCH = 24  # a process
PEAK_RATE = 3e-3
TEXT_RATE = 0.2  # the encoder already reads: its share of the transformer's learning rate
READING_WEIGHT = 0.05
SHIFT = 3.0
EMPTY, STRANGE = 0.08, 0.04  # shares of captions that are empty or unknown words alone
LONG_EVERY = 40  # every so many steps a batch of long captions
LANDSCAPES = 0.2  # their share in training: shapes come first
FIGURE_WEIGHT = 4.0  # how much more the loss minds what is not ground


def sigmas_of(steps):
    """The pipeline's schedule, with the final 0."""
    even = torch.linspace(1, 0, steps + 1)
    return SHIFT * even / (1 + (SHIFT - 1) * even)


# ---------------------------------------------------------------- the model


def build():
    model = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=DIM, n_layers=LAYERS, n_refiner_layers=1,
        n_heads=HEADS, n_kv_heads=HEADS, norm_eps=1e-5, qk_norm=True, cap_feat_dim=text.HIDDEN, rope_theta=256.0,
        t_scale=1000.0, axes_dims=[8, 12, 12], axes_lens=[1536, 512, 512])
    with torch.no_grad():
        for block in [*model.noise_refiner, *model.layers]:
            gates = block.adaLN_modulation[0].bias.view(4, DIM)
            gates[1].fill_(0.5)  # open gates: every block takes part from the first step
            gates[3].fill_(0.5)
        torch.nn.init.zeros_(model.all_final_layer["2-1"].linear.weight)
        torch.nn.init.normal_(model.x_pad_token, std=0.02)
        torch.nn.init.normal_(model.cap_pad_token, std=0.02)
    return model


def positions(model, height, width, caption_rows):
    """RoPE factors of the picture's rows (with pads) and of the caption's, each (1, rows, head_dim / 2)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    picture = torch.stack([torch.full_like(x, caption_rows + 1), y, x], -1).view(-1, 3)
    picture = torch.cat([picture, torch.zeros(-len(picture) % 32, 3, dtype=picture.dtype)])
    caption = torch.zeros(caption_rows, 3, dtype=torch.long)
    caption[:, 0] = torch.arange(1, caption_rows + 1)
    return model.rope_embedder(picture)[None], model.rope_embedder(caption)[None]


def forward(model, latents, t, captions, lengths):
    """ZImageTransformer2DModel.forward for a batch of one size and one padded caption length.

    latents (N, 16, H, W), t (N), captions (N, rows, features) with `lengths` valid rows each. The same numbers as the
    original (see `check_forward`), without its lists and its work on one picture after the other.
    """
    n, channels, height, width = latents.shape
    height, width = height // 2, width // 2
    device = latents.device
    picture_rope, caption_rope = (rope.to(device) for rope in positions(model, height, width, captions.shape[1]))
    time_embedding = model.t_embedder(t * model.t_scale)
    x = latents.view(n, channels, height, 2, width, 2).permute(0, 2, 4, 3, 5, 1).reshape(n, height * width, -1)
    x = model.all_x_embedder["2-1"](x)
    pads = model.x_pad_token.expand(n, -x.shape[1] % 32, -1)
    x = torch.cat([x, pads.to(x.dtype)], 1)
    for block in model.noise_refiner:
        x = block(x, None, picture_rope, time_embedding)
    caption = model.cap_embedder(captions)
    is_pad = torch.arange(captions.shape[1], device=device)[None, :, None] >= lengths[:, None, None]
    caption = torch.where(is_pad, model.cap_pad_token.to(caption.dtype), caption)
    for block in model.context_refiner:
        caption = block(caption, None, caption_rope)
    x = torch.cat([x, caption], 1)
    rope = torch.cat([picture_rope, caption_rope], 1)
    for block in model.layers:
        x = block(x, None, rope, time_embedding)
    x = model.all_final_layer["2-1"](x[:, :height * width], c=time_embedding)
    x = x.view(n, height, width, 2, 2, channels).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(n, channels, height * 2, width * 2)


@torch.no_grad()
def check_forward():
    """The batched forward against diffusers' own, in f32, with pads on both sides."""
    torch.manual_seed(3)
    model = build().eval()
    torch.nn.init.normal_(model.all_final_layer["2-1"].linear.weight, std=0.05)
    latents, t = torch.randn(2, 16, 16, 12), torch.tensor([0.1, 0.7])
    captions, lengths = torch.randn(2, 32, text.HIDDEN), torch.tensor([20, 27])
    ours = forward(model, latents, t, captions, lengths)
    listed = [captions[i, :n] for i, n in enumerate(lengths)]
    theirs = torch.stack(model(list(latents.unsqueeze(2)), t, listed, return_dict=False)[0]).squeeze(2)
    error = ((ours - theirs).norm() / theirs.norm()).item()
    assert error < 1e-5, f"the batched forward differs from diffusers by {error}"
    return error


# ---------------------------------------------------------------- latents


@torch.no_grad()
def cache_latents(work, count, minutes, device):
    """Latents (the posterior's means, scaled to about N(0, 1)) of `count` training scenes, or what the minutes allow."""
    path = f"{work}/latents.pt"
    if os.path.exists(path):
        return
    model = vae.load(work).to(device)
    rng = random.Random(5)
    kept = {size: ([], []) for size in scenes.PICTURE_SIZES}
    started, made = time.monotonic(), 0
    while made < count and time.monotonic() - started < minutes * 60:
        size = rng.choices(scenes.PICTURE_SIZES, (4, 1, 1))[0]
        batch = [scenes.training_scene(rng) for _ in range(16)]
        pictures = vae.to_tensor([scenes.draw(scene, *size, rng) for scene in batch]).to(device)
        with torch.autocast(device, torch.bfloat16):
            mean = model.encode(pictures).latent_dist.mean
        kept[size][0].append(mean.float().cpu())
        kept[size][1].extend(batch)
        made += len(batch)
    latents = {size: torch.cat(parts) for size, (parts, _) in kept.items()}
    values = torch.cat([part.flatten() for part in latents.values()])
    shift, scale = round(values.mean().item(), 4), round(1 / values.std().item(), 4)
    latents = {size: (part - shift) * scale for size, part in latents.items()}
    save_checkpoint(path, latents=latents, scenes={size: listed for size, (_, listed) in kept.items()}, shift=shift, scale=scale)
    print(f"{made} latents, shift {shift}, scale {scale}", flush=True)


# ---------------------------------------------------------------- training


def training_captions(batch, rng, words):
    """A caption for each scene; a few are empty (for guidance) and a few mean nothing."""
    captions = []
    for scene in batch:
        dice = rng.random()
        if dice < EMPTY:
            captions.append("")
        elif dice < EMPTY + STRANGE and words.length(stranger := scenes.stranger_caption(rng)) <= 32:
            captions.append(stranger)
        else:
            captions.append(text.short_wording(scene, rng, words))
    return captions


def long_captions(batch, rng, words):
    """Captions with a tail of unknown words, cut where the pipeline cuts: long prompts must not upset the model."""
    goal = rng.choice((48, 80, 150, 500))
    captions = []
    for scene in batch:
        caption = scenes.caption(scene, rng)
        while words.length(caption) < goal:
            caption = scenes.noisy(caption, rng)
        captions.append(caption)
    return captions


def figure_weight(latents):
    """Weights of the places, 1 on average in each picture: most places are plain ground, which is learnt soon."""
    flat = latents.flatten(2)
    distance = (flat - flat.median(2, keepdim=True).values).square().mean(1).clamp(max=1)
    weight = 1 + FIGURE_WEIGHT * distance
    return (weight / weight.mean(1, keepdim=True)).view(len(latents), 1, *latents.shape[2:])


def random_sigmas(n, rng):
    schedule = sigmas_of(8)[:-1].tolist()
    even = [rng.uniform(0.01, 1) for _ in range(n)]
    spread = [SHIFT * s / (1 + (SHIFT - 1) * s) for s in even]
    return torch.tensor([rng.choice(schedule) if rng.random() < 0.65 else s for s in spread])


class Trainer:
    """The transformer, its encoder, and all that training them needs between two steps."""

    def __init__(self, minutes, work, device):
        self.words = text.Words(f"{work}/tokenizer")
        self.data = load_checkpoint(f"{work}/latents.pt")
        self.path, self.device, self.step = f"{work}/flow.pt", device, 0
        torch.manual_seed(2)
        read = load_checkpoint(f"{work}/text.pt")
        self.model, self.encoder, self.reader = build(), text.build(self.words.size()), text.Reader()
        self.encoder.load_state_dict(read["encoder"])
        self.reader.load_state_dict(read["reader"])
        self.all = torch.nn.ModuleDict({"model": self.model, "encoder": self.encoder, "reader": self.reader}).to(device)
        self.average = Average(self.all, 0.99)
        inner = [p for name, p in self.model.named_parameters() if "attention.to_" in name or "feed_forward" in name]
        self.optimiser = Optimiser(inner, outside(self.model.parameters(), inner))
        used = text.matrices(self.encoder)
        self.text_optimiser = Optimiser(used, outside([*self.encoder.parameters(), *self.reader.parameters()], used))
        self.budget = Budget(minutes)
        if state := load_checkpoint(self.path):
            self.resume(state, minutes)
        self.rng = random.Random(7000 + self.step * 8 + rank())
        torch.manual_seed(7000 + self.step * 8 + rank())

    def resume(self, state, minutes):
        self.all.load_state_dict(state["all"])
        self.average.model.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.text_optimiser.load_state_dict(state["text_optimiser"])
        self.budget, self.step = Budget(minutes, state["spent"]), state["step"]

    def save(self):
        save_checkpoint(self.path, all=self.all.state_dict(), average=self.average.model.state_dict(),
                        optimiser=self.optimiser.state_dict(), text_optimiser=self.text_optimiser.state_dict(),
                        spent=self.budget.spent, step=self.step)

    def batch(self):
        """Latents, scenes and tokenised captions of one step."""
        is_long = self.step % LONG_EVERY == LONG_EVERY - 1
        size = self.rng.choices(scenes.PICTURE_SIZES, (4, 1, 1))[0]
        latents, known = self.data["latents"][size], self.data["scenes"][size]
        chosen = [self.pick(known) for _ in range(8 if is_long else BATCH)]
        batch = [known[i] for i in chosen]
        captions = (long_captions if is_long else training_captions)(batch, self.rng, self.words)
        told = [bool(caption) for caption in captions]
        ids, lengths = self.words(captions)
        return latents[chosen].to(self.device), batch, ids.to(self.device), lengths.to(self.device), told, is_long

    def pick(self, known):
        """The number of a random scene of the kind that the dice say."""
        kind = "landscape" if self.rng.random() < LANDSCAPES else "shape"
        for _ in range(50):
            number = self.rng.randrange(len(known))
            if known[number]["kind"] == kind:
                break
        return number

    def train_step(self):
        latents, batch, ids, lengths, told, is_long = self.batch()
        sigma = random_sigmas(len(batch), self.rng).to(self.device)
        noise = torch.randn_like(latents)
        mixed = torch.lerp(latents, noise, sigma.view(-1, 1, 1, 1))
        with torch.autocast(self.device, torch.bfloat16):
            embeddings = text.embed(self.encoder, ids)
            out = forward(self.model, mixed, 1 - sigma, embeddings, lengths)
        flow_loss = (figure_weight(latents) * (out.float() - (latents - noise)).square()).mean()
        loss, right = flow_loss, 0.0
        if not is_long:
            heard = torch.tensor(told, device=self.device)
            reading, right = text.reading_loss(
                self.reader(embeddings[heard].float(), lengths[heard]),
                text.targets([scene for scene, said in zip(batch, told) if said]))
            loss = loss + READING_WEIGHT * reading
        self.optimiser.zero_grad()
        self.text_optimiser.zero_grad()
        loss.backward()
        average_gradients(list(self.all.parameters()), self.budget)
        torch.nn.utils.clip_grad_norm_(self.all.parameters(), 1.0)
        rate = learning_rate(PEAK_RATE, self.budget.progress, self.step)
        self.optimiser.step(rate)
        self.text_optimiser.step(rate * TEXT_RATE)
        self.average.update(self.all, self.step)
        return flow_loss.item(), right


def outside(parameters, inner):
    inner = {id(p) for p in inner}
    return [p for p in parameters if id(p) not in inner]


def train(minutes, work, log_folder, device):
    """Train to the time budget; resume from the checkpoint in `work`; show samples now and then."""
    check_forward()
    trainer = Trainer(minutes, work, device)
    log = Log(f"{log_folder}/flow.csv", ("loss", "read_right"), every=25)
    while trainer.budget.progress < 1:
        loss, right = trainer.train_step()
        trainer.budget.tick()
        log.add(trainer.step, trainer.budget, loss=loss, read_right=right)
        trainer.step += 1
        if trainer.step % 100 == 0 or trainer.budget.progress >= 1:
            trainer.save()


# ---------------------------------------------------------------- looking at it


@torch.no_grad()
def sample(model, encoder, decoder, words, captions, seeds, width, height, shift, scale, steps=8):
    """Pictures of equally long captions, as the pipeline would make them; batched, for looking during training."""
    ids, lengths = words(captions)
    embeddings = text.embed(encoder, ids)
    x = torch.stack([torch.randn(16, height // 16, width // 16, generator=torch.Generator().manual_seed(s)) for s in seeds])
    sigmas = sigmas_of(steps)
    for now, then in zip(sigmas[:-1], sigmas[1:]):
        t = (1 - now).expand(len(x))
        x = x - (then - now) * forward(model, x, t, embeddings, lengths)
    return vae.to_pixels(decoder.decode(x / scale + shift).sample)


def sheet(rows, path, gap=4):
    """Pictures (arrays) in rows, as one picture."""
    height, width = rows[0][0].shape[:2]
    whole = Image.new("RGB", (len(rows[0]) * (width + gap) - gap, len(rows) * (height + gap) - gap), "grey")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            whole.paste(Image.fromarray(picture), (x * (width + gap), y * (height + gap)))
    whole.save(path)
