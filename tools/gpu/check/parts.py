"""What is measured: each function prints a table, in Markdown."""

import collections
import contextlib
import os
import statistics
import subprocess
import sys

import png
from card import Watts
from house import job, render

# The five sizes of the published report, and two that are larger.
SIZES = ((512, 512), (768, 768), (1024, 576), (576, 1024), (1024, 1024), (1536, 1536), (2048, 2048))
SMALL_CARDS_GIB = (6, 8, 12)
SMALL_SIZES = (512, 768, 1024)
IMAGES = 3
KERNELS_SHOWN = 16
PAUSE_NS = 20_000_000
GIB = 1 << 30
HERE = os.path.dirname(os.path.abspath(__file__))


def table(*columns):
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join("---" for _ in columns) + " |", flush=True)


def row(*values):
    print("| " + " | ".join(str(value) for value in values) + " |", flush=True)


def median(values):
    return statistics.median(values) if values else float("nan")


def told(attempts, house):
    """Those that made a picture; what became of the others is printed."""
    for attempt in attempts:
        if attempt.outcome != "done":
            print(f"{attempt.size} {attempt.rung}: {attempt.outcome}: {attempt.message}, see {house}/log")
    return [attempt for attempt in attempts if attempt.outcome == "done"]


def gaps_ms(attempts):
    """From one picture's decode to the next one's start: what the card waits."""
    pairs = zip(attempts, attempts[1:])
    return [after.started_at_ms - before.started_at_ms - before.text_ms - before.denoise_ms - before.decode_ms
            for before, after in pairs]


def parity(check):
    """The miniature model's pictures, made by the card in bf16 and by the processor in f32."""
    model = os.path.join(HERE, "../../../models/mini")
    prompts = ("a red circle", "a blue square on green", "two yellow stars")
    jobs = [job(*size, prompt=prompt) for size, prompt in zip(((256, 256), (320, 192), (192, 320)), prompts)]
    made = {}
    for kind in ("cuda", "cpu"):
        house = f"{check.folder}/parity-{kind}"
        attempts = told(render(check.zimaged, house, model, jobs, check.deadline.left_s(), kind=kind), house)
        made[kind] = [png.values(f"{house}/outputs/{attempt.path}") for attempt in attempts]
    print("\nThe miniature on the card and on the processor, in levels of 255\n")
    table("picture", "mean difference", "largest")
    for prompt, card, processor in zip(prompts, made["cuda"], made["cpu"]):
        differences = [abs(ours - right) for ours, right in zip(card, processor)]
        row(prompt, f"{sum(differences) / len(differences):.2f}", max(differences))


def int8(check):
    """The same with the transformer's products in whole numbers of 8 bits."""
    times(check, "int8")


def times(check, precision="full"):
    """All resident: a step, the decode and a picture at each size, and the card's power while it denoises."""
    house = f"{check.folder}/times-{precision}"
    jobs = [job(*size, images=IMAGES, precision=precision) for size in SIZES]
    with Watts() as watts:
        attempts = told(render(check.zimaged, house, check.model, jobs, check.deadline.left_s()), house)
    if not attempts:
        print("no picture was made in time")
        return
    print(f"\nAll resident, precision {precision}, 8 steps, {IMAGES} pictures of each size; load {attempts[0].load_ms / 1000:.2f} s\n")
    table("size", "step, ms", "decode, ms", "picture, s", "between pictures, ms", "watts", "predicted, GB", "ratio")
    for width, height in SIZES:
        ours = [attempt for attempt in attempts if (attempt.width, attempt.height) == (width, height)]
        if not ours:
            continue
        steps = [ms for attempt in ours for ms in attempt.step_ms[1:]]
        watt = watts.between(ours[0].started_at_ms / 1000, ours[-1].ended_at_ms / 1000)
        peak = ours[-1]
        row(f"{width}x{height}", f"{median(steps):.1f}", f"{median([a.decode_ms for a in ours]):.0f}",
            f"{min(a.total_ms for a in ours) / 1000:.2f}", f"{median(gaps_ms(ours)):.0f}", f"{watt or 0:.0f}",
            f"{peak.predicted_bytes / 1e9:.2f}", f"{peak.measured_bytes / peak.predicted_bytes:.3f}")


def small(check):
    """Most of the card's memory taken away."""
    print("\nMemory taken away; seconds of the second picture, whose prompt is known, and of a new prompt's text\n")
    table("left", "size", "load, s", "rung", "predicted, GB", "ratio", "step, ms", "decode, ms", "picture, s", "text, s",
          "tries")
    for gib in SMALL_CARDS_GIB:
        house = f"{check.folder}/small{gib}"
        # The daemon sees the whole card's size: it is given the reserve of a card of this one.
        reserve = f'reserve = "{max(512, gib * 1024 // 20)}MiB"'
        jobs = [job(size, size, images=2, prompt=f"a red fox, {size}") for size in SMALL_SIZES]
        with check.card.left(gib * GIB) as is_left:
            if not is_left:
                print(f"the card has less than {gib} GiB free")
                continue
            attempts = render(check.zimaged, house, check.model, jobs, check.deadline.left_s(), reserve)
        for size in SMALL_SIZES:
            tries = [attempt for attempt in attempts if attempt.width == size]
            done = told(tries, house)
            if not done:
                continue
            last = done[-1]
            row(f"{gib} GiB", f"{size}x{size}", f"{last.load_ms / 1000:.1f}", last.rung,
                f"{last.predicted_bytes / 1e9:.2f}", f"{last.measured_bytes / last.predicted_bytes:.3f}",
                f"{median(last.step_ms[1:]):.0f}", last.decode_ms, f"{last.total_ms / 1000:.2f}",
                f"{done[0].text_ms / 1000:.2f}", len(tries))


def profile(check):
    """Each kernel's share of the last of some steps and of the decode behind it, at 1024x1024."""
    house, steps = f"{check.folder}/profile", 3
    with recorded(check.folder) as (file, environment):
        jobs = [job(1024, 1024, steps=steps, images=2)]
        told(render(check.zimaged, house, check.model, jobs, check.deadline.left_s(), environment=environment), house)
    launches = sorted(read_launches(file))
    attentions = [n for n, launch in enumerate(launches) if launch.name.startswith("attention")]
    if not attentions:
        print(f"no profile: {file} has no attention")
        return
    # Within a picture's steps no two of them are far apart; between two pictures there is a decode.
    pauses = [n for n, (one, next_one) in enumerate(zip(attentions, attentions[1:]))
              if launches[next_one].start_ns - launches[one].end_ns > PAUSE_NS]
    last_picture = attentions[pauses[-1] + 1 if pauses else 0:]
    last_step = last_picture[-(len(last_picture) // steps):]
    print_kernels("step", launches[last_step[0]:last_step[-1] + 1])
    print_kernels("decode", launches[last_step[-1] + 1:])


@contextlib.contextmanager
def recorded(folder):
    """A file for the kernels, and the environment of a program that writes them into it."""
    library, file = os.path.abspath(f"{folder}/kernels.so"), os.path.abspath(f"{folder}/kernels.txt")
    if not os.path.exists(library):
        folders = [f"-I{root}/include" for root in toolkits()] + [f"-L{root}/lib" for root in toolkits()]
        source = os.path.join(HERE, "kernels.c")
        command = ["gcc", "-O2", "-shared", "-fPIC", source, "-o", library, *folders, "-l:libcupti.so.13"]
        subprocess.run(command, check=True)
    with contextlib.suppress(FileNotFoundError):
        os.remove(file)
    yield file, {"CUDA_INJECTION64_PATH": library, "KERNELS_FILE": file}


def toolkits():
    """Where CUDA's headers and libraries may be."""
    wheels = [os.path.join(path, "nvidia", "cu13") for path in sys.path]
    usual = ["/usr/local/cuda/extras/CUPTI", "/usr/local/cuda"]
    return [folder for folder in wheels + usual if os.path.isdir(folder)]


Launch = collections.namedtuple("Launch", "start_ns end_ns name")


def read_launches(path):
    with open(path) as file:
        for line in file:
            start, end, name = line.rstrip().split(" ", 2)
            yield Launch(int(start), int(end), name)


def print_kernels(what, launches):
    sums = collections.defaultdict(lambda: [0, 0.0])
    for launch in launches:
        entry = sums[launch.name[:64]]
        entry[0], entry[1] = entry[0] + 1, entry[1] + (launch.end_ns - launch.start_ns) / 1e6
    busy_ms = sum(ms for _, ms in sums.values())
    span_ms = (launches[-1].end_ns - launches[0].start_ns) / 1e6
    print(f"\nA {what} at 1024x1024: {len(launches)} launches, {busy_ms:.1f} ms of work in {span_ms:.1f} ms\n")
    table("kernel", "launches", "ms")
    for name, (count, ms) in sorted(sums.items(), key=lambda item: -item[1][1])[:KERNELS_SHOWN]:
        row(name, count, f"{ms:.2f}")


def torch(check):
    """diffusers in the same run, where Python has it."""
    command = [sys.executable, os.path.join(HERE, "torch_times.py"), f"{check.deadline.left_s():.0f}"]
    subprocess.run(command, timeout=check.deadline.left_s() + 20, check=False)
