"""Does a picture follow its prompt? 200 prompts of held-out combinations, judged by a rule that needs pixels only.

    python evaluate.py list tests/data/mini/evaluation.json             write the prompts and what they ask for
    python evaluate.py render models/mini EVALUATION.json FOLDER        render them with diffusers, as 000.png, 001.png, ...
    python evaluate.py judge EVALUATION.json FOLDER                     judge a folder of such pictures, whoever rendered it
    python evaluate.py sheet outputs/sheet docs/mini.png                the contact sheet of what the daemon made of
                                                                        examples/sheet.toml

The rule:
1. Each pixel is given to the nearest of the grammar's colours (squared distance of RGB; the first wins a tie).
2. The ground is the commonest colour of the outermost four pixels' frame.
3. The shape's colour is the commonest other colour; with less than 0.3 % of the picture's pixels there is no shape.
4. The shape's place is the mean position of its colour's pixels; it must lie in the box, a ninth of the picture around
   the asked position (edges included).
Pairs of one prompt with two seeds differ if at least 0.1 % of the pixels are more than 32 levels apart in a channel.
"""

import argparse
import json
import os

import numpy
import torch
from PIL import Image

import scenes

FRAME = 4
LEAST_SHAPE = 0.003
REACH = 0.125  # half a box's side, as a fraction of the picture's
ENOUGH = {"colours": 0.95, "position": 0.90, "seeds": 1.0}


# ---------------------------------------------------------------- the prompts


def held_out_shape(rng):
    while True:
        scene = scenes.random_shape_scene(rng)
        if scenes.held_out(scene):
            return scene


def case(scene, prompt, seed, width, height):
    x, y = scenes.POSITIONS[scene["position"]]
    box = [(x - REACH) * width, (y - REACH) * height, (x + REACH) * width, (y + REACH) * height]
    return {"prompt": prompt, "seed": seed, "width": width, "height": height, "shape": scenes.COLOURS[scene["colour"]],
            "ground": scenes.COLOURS[scene["ground"]], "box": [round(edge) for edge in box]}


def cases(count=200):
    """Both languages and all sizes, each combination kept from training."""
    rng = scenes.rng_of("evaluation")
    listed = []
    for number in range(count):
        scene = held_out_shape(rng)
        prompt = scenes.caption(scene, rng, "en" if number % 2 == 0 else "zh")
        width, height = scenes.PICTURE_SIZES[(0, 0, 1, 2)[number // 2 % 4]]
        listed.append(case(scene, prompt, 1000 + number, width, height))
    return listed


def write_list(path):
    """A case a line, so that the file stays readable and its changes small."""
    colours = json.dumps(list(scenes.COLOURS.values()))
    lines = ",\n".join("  " + json.dumps(c, ensure_ascii=False) for c in cases())
    with open(path, "w") as file:
        file.write(f'{{\n "colours": {colours},\n "cases": [\n{lines}\n ]\n}}\n')


# ---------------------------------------------------------------- the rule


def judge(pixels, asked, colours):
    """(ground right, shape right, position right) of one picture, (H, W, 3) bytes."""
    distance = ((pixels[:, :, None].astype(int) - numpy.array(colours)) ** 2).sum(-1)
    nearest = distance.argmin(-1)
    frame = numpy.ones(nearest.shape, bool)
    frame[FRAME:-FRAME, FRAME:-FRAME] = False
    ground = numpy.bincount(nearest[frame], minlength=len(colours)).argmax()
    counts = numpy.bincount(nearest.ravel(), minlength=len(colours))
    counts[ground] = 0
    shape = counts.argmax()
    ground_right = list(colours[ground]) == list(asked["ground"])
    if counts[shape] < LEAST_SHAPE * nearest.size:
        return ground_right, False, False
    rows, columns = numpy.nonzero(nearest == shape)
    left, top, right, bottom = asked["box"]
    inside = left <= columns.mean() <= right and top <= rows.mean() <= bottom
    return ground_right, list(colours[shape]) == list(asked["shape"]), inside


def differ(one, other):
    return ((abs(one.astype(int) - other.astype(int)) > 32).any(-1)).mean() >= 0.001


def summary(evaluation, pictures):
    """Shares that are right, and the numbers of the cases that are not."""
    results = [judge(picture, asked, evaluation["colours"]) for asked, picture in zip(evaluation["cases"], pictures)]
    shares = numpy.array(results).mean(0)
    wrong = [number for number, result in enumerate(results) if not all(result)]
    return {"pictures": len(results), "ground": shares[0], "shape": shares[1], "position": shares[2], "wrong": wrong}


def passed(shares):
    return min(shares["ground"], shares["shape"]) >= ENOUGH["colours"] and shares["position"] >= ENOUGH["position"]


# ---------------------------------------------------------------- rendering


def pipeline(folder):
    from diffusers import ZImagePipeline

    pipe = ZImagePipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def render(pipe, prompts, seeds, width, height, **options):
    """Pictures of one size, each with its own seed: the same as one after the other, only sooner."""
    settings = {"num_inference_steps": 8, "guidance_scale": 0.0, **options}
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    return pipe(list(prompts), height=height, width=width, generator=generators, **settings).images


def render_all(model, evaluation, folder, batch=10):
    """Render every case into a folder, PNGs named by the case's number."""
    pipe = pipeline(model)
    os.makedirs(folder, exist_ok=True)
    by_size = {}
    for number, asked in enumerate(evaluation["cases"]):
        by_size.setdefault((asked["width"], asked["height"]), []).append(number)
    for (width, height), numbers in by_size.items():
        for start in range(0, len(numbers), batch):
            some = numbers[start:start + batch]
            asked = [evaluation["cases"][number] for number in some]
            pictures = render(pipe, [c["prompt"] for c in asked], [c["seed"] for c in asked], width, height)
            for number, picture in zip(some, pictures):
                picture.save(f"{folder}/{number:03}.png")


def seeds_differ(pipe, evaluation, count=10):
    """Share of prompts for which the next seed gives another picture."""
    asked = [c for c in evaluation["cases"] if c["width"] == c["height"]][:count]
    once, again = (
        [numpy.asarray(p) for p in render(pipe, [c["prompt"] for c in asked], [c["seed"] + k for c in asked], 256, 256)]
        for k in (0, 1))
    return sum(differ(one, other) for one, other in zip(once, again)) / len(once)


def contact_sheet(folder, path, side=5):
    """The pictures 0001.png, 0002.png, ... that the daemon made of examples/sheet.toml, at half their size."""
    from flow import sheet

    pictures = [Image.open(f"{folder}/{number + 1:04}.png").convert("RGB").reduce(2) for number in range(side * side)]
    rows = [[numpy.asarray(picture) for picture in pictures[row * side:][:side]] for row in range(side)]
    sheet(rows, path)


def load_list(path):
    with open(path) as file:
        return json.load(file)


def judge_folder(evaluation, folder):
    pictures = [numpy.asarray(Image.open(f"{folder}/{number:03}.png").convert("RGB")) for number in range(len(evaluation["cases"]))]
    shares = summary(evaluation, pictures)
    print(json.dumps(shares), "PASSED" if passed(shares) else "FAILED")
    return shares


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("list", "render", "judge", "sheet"))
    parser.add_argument("paths", nargs="+")
    arguments = parser.parse_args()
    what, paths = arguments.what, arguments.paths
    if what == "list":
        write_list(*paths)
    elif what == "render":
        render_all(paths[0], load_list(paths[1]), paths[2])
        print("seeds differ:", seeds_differ(pipeline(paths[0]), load_list(paths[1])))
    elif what == "judge":
        raise SystemExit(0 if passed(judge_folder(load_list(paths[0]), paths[1])) else 1)
    else:
        contact_sheet(*paths)
