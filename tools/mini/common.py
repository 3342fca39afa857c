"""What the training stages share: a budget of time, averaged weights, checkpoints and a small log."""

import contextlib
import copy
import math
import os
import time

import torch
from torch import distributed


def join_processes():
    """Under torchrun several processes train together, each on its own batches; alone, nothing happens.

    On a CPU that others use too, two processes of one thread get more done than one process of two threads: they wait
    for each other once a step and not in every operation.
    """
    if "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        distributed.init_process_group("gloo")


def rank():
    return distributed.get_rank() if distributed.is_initialized() else 0


@contextlib.contextmanager
def one_process():
    """What stands inside is done by the first process while the others wait; then they find its files."""
    if rank() != 0:
        distributed.barrier()
    yield
    if rank() == 0 and distributed.is_initialized():
        distributed.barrier()


def average_gradients(parameters, budget):
    """The mean of all processes' gradients; and the first process's clock for everyone."""
    if not distributed.is_initialized():
        return
    for p in parameters:
        if p.grad is None:  # a part that this process's batch did not need; another's may have
            p.grad = torch.zeros_like(p)
    present = [p.grad for p in parameters]
    clock = torch.tensor([budget.spent if rank() == 0 else 0.0])
    flat = torch.cat([g.flatten() for g in present] + [clock.to(present[0].device)])
    distributed.all_reduce(flat)
    budget.spent = flat[-1].item()
    flat /= distributed.get_world_size()
    for p, part in zip(parameters, flat[:-1].split([p.numel() for p in parameters])):
        p.grad = part.view_as(p)


class Budget:
    """Minutes of training. A pause of the process (a long step) counts as five seconds only."""

    def __init__(self, minutes, spent=0.0):
        self.seconds = minutes * 60
        self.spent = spent
        self.last = time.monotonic()

    def tick(self):
        """Count the step that just ended."""
        now = time.monotonic()
        self.spent += min(now - self.last, 5.0)
        self.last = now

    @property
    def progress(self):
        return min(self.spent / self.seconds, 1.0)


def learning_rate(peak, progress, step, warmup=100, floor=0.02):
    """Linear warm-up over steps, then a cosine over the time budget."""
    cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
    return peak * cosine * min(1.0, (step + 1) / warmup)


class Average:
    """An exponential moving average of a model's weights: what is exported."""

    def __init__(self, model, decay):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model, step):
        decay = min(self.decay, (step + 1) / (step + 10))
        ours, theirs = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(ours, [p.detach() for p in theirs], 1 - decay)


class Log:
    """A CSV file with a line now and then: the loss curve that is kept with the code."""

    def __init__(self, path, columns, every):
        self.path, self.columns, self.every, self.sums, self.count = path, columns, every, {}, 0
        if rank() == 0 and not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(",".join(("step", "minutes") + tuple(columns)) + "\n")

    def add(self, step, budget, **values):
        if rank() != 0:
            return
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.count += 1
        if (step + 1) % self.every:
            return
        means = [f"{self.sums[name] / self.count:.5f}" for name in self.columns]
        line = ",".join([str(step + 1), f"{budget.spent / 60:.1f}"] + means)
        with open(self.path, "a") as file:
            file.write(line + "\n")
        print(line, flush=True)
        self.sums, self.count = {}, 0


def save_checkpoint(path, **state):
    """Write whole or not at all; the first process does it for all."""
    if rank() != 0:
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


def load_checkpoint(path):
    return torch.load(path, map_location="cpu", weights_only=False) if os.path.exists(path) else None


class Optimiser:
    """Muon for the matrices within the network (convolutions flattened), AdamW for everything else.

    Muon (Keller Jordan, 2024) makes each matrix's momentum orthogonal by a few Newton-Schulz steps. Its update is
    scaled to the size of an AdamW update (0.2 a weight), so that one learning rate serves both. On these small
    networks it needs about half the steps, and on two cores steps are what is scarce.
    """

    def __init__(self, matrices, others, weight_decay=0.01, betas=(0.9, 0.98)):
        self.groups = {}
        for p in matrices:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.momentum = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.groups.items()}
        self.adam = torch.optim.AdamW(others, lr=0.0, betas=betas, weight_decay=0.0)
        self.weight_decay = weight_decay

    def step(self, rate):
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        with torch.no_grad():
            for shape, parameters in self.groups.items():
                self.orthogonal_step(shape, parameters, rate)

    def orthogonal_step(self, shape, parameters, rate):
        gradient = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters])
        momentum = self.momentum[shape]
        momentum.lerp_(gradient, 0.05)
        update = orthogonal(gradient.lerp(momentum, 0.95).flatten(2))
        scale = 0.2 * max(update.shape[1:]) ** 0.5
        for p, u in zip(parameters, update.unbind(0)):
            p.mul_(1 - rate * self.weight_decay).add_(u.view_as(p), alpha=-rate * scale)

    def zero_grad(self):
        self.adam.zero_grad(set_to_none=True)
        for parameters in self.groups.values():
            for p in parameters:
                p.grad = None

    def state_dict(self):
        return {"momentum": self.momentum, "adam": self.adam.state_dict()}

    def load_state_dict(self, state):
        self.momentum = state["momentum"]
        self.adam.load_state_dict(state["adam"])


def orthogonal(matrices, steps=5):
    """The nearest (semi-)orthogonal matrices, about: quintic Newton-Schulz iteration, a stack of matrices at once."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16() if x.shape[1] >= 128 else x
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()
