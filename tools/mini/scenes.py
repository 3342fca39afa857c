"""The world that the miniature model knows: scenes, their pictures and their captions.

A scene is a small dictionary of words from fixed lists. One scene has one kind of picture (with a little seeded
play, so that seeds differ) and many captions in English and Chinese. Everything else in this folder is built on it:
the pictures train the VAE, the pairs train the transformer, and the held-out combinations judge the result.
"""

import hashlib
import math
import random
import re

from PIL import Image, ImageDraw

# Far apart in RGB, so that "nearest colour" is a fair judge.
COLOURS = {
    "red": (214, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 60),
    "green": (40, 155, 70),
    "blue": (40, 90, 205),
    "purple": (130, 60, 170),
    "pink": (246, 160, 195),
    "black": (24, 24, 28),
    "white": (250, 250, 250),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross")
POSITIONS = {
    "top left": (0.25, 0.25), "top": (0.5, 0.25), "top right": (0.75, 0.25),
    "left": (0.25, 0.5), "centre": (0.5, 0.5), "right": (0.75, 0.5),
    "bottom left": (0.25, 0.75), "bottom": (0.5, 0.75), "bottom right": (0.75, 0.75),
}
# Half the shape's height as a fraction of the picture's shorter side.
SIZES = {"small": 0.10, "medium": 0.155, "large": 0.22}

TIMES = ("day", "dusk", "night")
LANDS = ("hills", "sea")
LIGHTS = ("sun", "moon", "none")
OBJECTS = ("house", "tree", "boat", "none")
OBJECT_COLOURS = ("red", "yellow", "blue", "white", "purple")
SIDES = {"left": 0.28, "middle": 0.5, "right": 0.72}

PICTURE_SIZES = ((256, 256), (192, 256), (256, 192))  # width, height
SUPERSAMPLE = 4


# ---------------------------------------------------------------- scenes


def random_shape_scene(rng):
    """A coloured shape on a coloured ground. Words that the caption will not say have their usual value."""
    colour, ground = rng.sample(list(COLOURS), 2)
    if rng.random() < 0.08:
        ground = "white" if colour != "white" else "black"
    return {
        "kind": "shape",
        "shape": rng.choice(SHAPES),
        "colour": colour,
        "ground": ground,
        "position": "centre" if rng.random() < 0.1 else rng.choice(list(POSITIONS)),
        "size": rng.choice(("small", "medium", "medium", "large")),
    }


def random_landscape_scene(rng):
    """Hills or the sea at a time of day, with a sun or moon and at most one thing in it."""
    time = rng.choice(TIMES)
    light = {"day": ("sun", "sun", "none"), "dusk": ("sun", "sun", "moon", "none"), "night": ("moon", "moon", "none")}
    land = rng.choice(LANDS)
    thing = rng.choice(("house", "tree", "none") if land == "hills" else ("boat", "boat", "none"))
    return {
        "kind": "landscape",
        "time": time,
        "land": land,
        "light": rng.choice(light[time]),
        "object": thing,
        "colour": rng.choice(OBJECT_COLOURS) if thing in ("house", "boat") else "none",
        "side": rng.choice(list(SIDES)) if thing != "none" else "none",
    }


def random_scene(rng, landscapes=0.35):
    """Any scene, landscapes with the given probability."""
    return random_landscape_scene(rng) if rng.random() < landscapes else random_shape_scene(rng)


def held_out(scene):
    """Whether the combination is kept from training. A hash of the words decides, so it holds on every machine."""
    keys = ("shape", "colour", "ground", "position") if scene["kind"] == "shape" else (
        "time", "land", "light", "object", "colour", "side")
    digest = hashlib.sha256("|".join(scene[key] for key in keys).encode()).digest()
    return digest[0] % 10 == 0


def training_scene(rng, landscapes=0.35):
    """A random scene that is not held out."""
    while True:
        scene = random_scene(rng, landscapes)
        if not held_out(scene):
            return scene


# ---------------------------------------------------------------- drawing


def draw(scene, width, height, rng):
    """The scene's picture. `rng` moves things a little, so that two pictures of one scene differ."""
    if scene["kind"] == "shape":
        layers = shape_layers(scene, width, height, rng)
    else:
        layers = landscape_layers(scene, width, height, rng)
    return paint(layers, width, height)


def paint(layers, width, height):
    """Paint polygons (points in pixels, RGB) from back to front, anti-aliased by averaging a finer picture."""
    picture = Image.new("RGB", (width * SUPERSAMPLE, height * SUPERSAMPLE))
    pen = ImageDraw.Draw(picture)
    for points, colour in layers:
        pen.polygon([(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in points], fill=colour)
    return picture.reduce(SUPERSAMPLE)


def rectangle(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def disc(x, y, radius, squash=1.0):
    steps = 48
    angles = (2 * math.pi * i / steps for i in range(steps))
    return [(x + radius * math.cos(a), y + radius * squash * math.sin(a)) for a in angles]


def outline(shape):
    """The shape's polygon around (0, 0), about 1 from the centre, y down."""
    if shape == "circle":
        return disc(0, 0, 1)
    if shape == "square":
        return rectangle(-0.88, -0.88, 0.88, 0.88)
    if shape == "triangle":
        return [(0, -1), (1.05, 0.82), (-1.05, 0.82)]
    if shape == "diamond":
        return [(0, -1.15), (0.8, 0), (0, 1.15), (-0.8, 0)]
    if shape == "cross":
        a, b = 0.34, 1.0
        return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]
    if shape == "star":
        radii = [1.15 if i % 2 == 0 else 0.5 for i in range(10)]
        return [(r * math.sin(math.pi * i / 5), 0.06 - r * math.cos(math.pi * i / 5)) for i, r in enumerate(radii)]
    if shape == "heart":
        points = []
        for i in range(48):
            a = 2 * math.pi * i / 48
            x = 16 * math.sin(a) ** 3
            y = 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)
            points.append((x / 15.5, -(y + 2.5) / 15.5))
        return points
    raise ValueError(shape)


def place(points, x, y, scale):
    return [(x + px * scale, y + py * scale) for px, py in points]


def shape_layers(scene, width, height, rng):
    x, y = POSITIONS[scene["position"]]
    x += rng.uniform(-0.03, 0.03)
    y += rng.uniform(-0.03, 0.03)
    radius = SIZES[scene["size"]] * min(width, height) * rng.uniform(0.93, 1.07)
    shape = place(outline(scene["shape"]), x * width, y * height, radius)
    return [
        (rectangle(0, 0, width, height), COLOURS[scene["ground"]]),
        (shape, COLOURS[scene["colour"]]),
    ]


SKY = {"day": (150, 208, 250), "dusk": (244, 150, 96), "night": (22, 28, 74)}
SKY_LOW = {"day": (196, 230, 252), "dusk": (250, 196, 130), "night": (38, 46, 104)}
SEA = {"day": (40, 120, 200), "dusk": (96, 76, 140), "night": (14, 44, 100)}
SEA_NEAR = {"day": (30, 98, 176), "dusk": (78, 60, 120), "night": (10, 34, 82)}
HILL_FAR = {"day": (124, 190, 110), "dusk": (130, 96, 92), "night": (34, 70, 72)}
HILL_NEAR = {"day": (70, 156, 76), "dusk": (92, 66, 74), "night": (20, 50, 54)}
STARS = ((0.12, 0.12), (0.30, 0.24), (0.47, 0.10), (0.62, 0.27), (0.80, 0.13), (0.92, 0.30))


def landscape_layers(scene, width, height, rng):
    time = scene["time"]
    unit = min(width, height)
    horizon = 0.62 * height
    layers = [
        (rectangle(0, 0, width, height), SKY[time]),
        (rectangle(0, 0.40 * height, width, height), SKY_LOW[time]),
    ]
    if time == "night":
        layers += [(disc(x * width, y * height, 0.009 * unit), (240, 240, 220)) for x, y in STARS]
    layers += light_layers(scene, width, height, unit, rng)
    x = SIDES.get(scene["side"], 0.5) * width + rng.uniform(-0.03, 0.03) * width
    if scene["land"] == "sea":
        layers.append((rectangle(0, horizon, width, height), SEA[time]))
        layers.append((rectangle(0, 0.84 * height, width, height), SEA_NEAR[time]))
    else:
        phase = rng.uniform(0, 2 * math.pi)
        layers.append((hill(width, height, 0.60, 0.06, 1.3, phase), HILL_FAR[time]))
        layers.append((hill(width, height, 0.76, 0.04, 1.0, phase + 2), HILL_NEAR[time]))
    layers += object_layers(scene, x, height, unit)
    return layers


def hill(width, height, level, swing, waves, phase):
    """A ridge: a sine across the picture, filled down to the bottom edge."""
    points = [(width, height), (0, height)]
    for i in range(33):
        t = i / 32
        points.append((t * width, (level + swing * math.sin(2 * math.pi * waves * t + phase)) * height))
    return points


def light_layers(scene, width, height, unit, rng):
    """The sun or moon, on the side away from the object; low at dusk."""
    if scene["light"] == "none":
        return []
    x = {"left": 0.74, "right": 0.26}.get(scene["side"], rng.choice((0.26, 0.74))) + rng.uniform(-0.04, 0.04)
    y = (0.46 if scene["time"] == "dusk" and scene["light"] == "sun" else 0.2) + rng.uniform(-0.02, 0.02)
    if scene["light"] == "sun":
        colour = (255, 110, 60) if scene["time"] == "dusk" else (255, 226, 70)
        return [(disc(x * width, y * height, 0.10 * unit), colour)]
    sky = SKY[scene["time"]]
    return [
        (disc(x * width, y * height, 0.085 * unit), (246, 244, 216)),
        (disc((x + 0.04) * width, (y - 0.02) * height, 0.075 * unit), sky),
    ]


def object_layers(scene, x, height, unit):
    if scene["object"] == "house":
        return house_layers(scene, x, 0.78 * height, unit)
    if scene["object"] == "tree":
        return tree_layers(scene["time"], x, 0.80 * height, unit)
    if scene["object"] == "boat":
        return boat_layers(scene, x, 0.74 * height, unit)
    return []


def house_layers(scene, x, floor, unit):
    window = (255, 226, 110) if scene["time"] != "day" else (190, 226, 250)
    return [
        (rectangle(x - 0.12 * unit, floor - 0.17 * unit, x + 0.12 * unit, floor), COLOURS[scene["colour"]]),
        ([(x - 0.16 * unit, floor - 0.17 * unit), (x, floor - 0.29 * unit), (x + 0.16 * unit, floor - 0.17 * unit)], (96, 56, 48)),
        (rectangle(x - 0.09 * unit, floor - 0.13 * unit, x - 0.03 * unit, floor - 0.07 * unit), window),
        (rectangle(x + 0.02 * unit, floor - 0.11 * unit, x + 0.08 * unit, floor), (96, 56, 48)),
    ]


def tree_layers(time, x, floor, unit):
    crown = {"day": (30, 112, 56), "dusk": (52, 60, 50), "night": (10, 34, 34)}[time]
    trunk = {"day": (112, 72, 48), "dusk": (66, 42, 44), "night": (36, 28, 36)}[time]
    return [
        (rectangle(x - 0.022 * unit, floor - 0.16 * unit, x + 0.022 * unit, floor), trunk),
        (disc(x, floor - 0.24 * unit, 0.115 * unit, 1.1), crown),
    ]


def boat_layers(scene, x, waterline, unit):
    sail = (248, 244, 232) if scene["colour"] != "white" else (214, 60, 50)
    return [
        (rectangle(x - 0.008 * unit, waterline - 0.30 * unit, x + 0.008 * unit, waterline), (90, 60, 50)),
        ([(x + 0.018 * unit, waterline - 0.29 * unit), (x + 0.15 * unit, waterline - 0.07 * unit), (x + 0.018 * unit, waterline - 0.07 * unit)], sail),
        ([(x - 0.17 * unit, waterline - 0.05 * unit), (x + 0.19 * unit, waterline - 0.05 * unit), (x + 0.11 * unit, waterline + 0.05 * unit), (x - 0.10 * unit, waterline + 0.05 * unit)], COLOURS[scene["colour"]]),
    ]


# ---------------------------------------------------------------- captions

ENGLISH_SHAPES = {
    "circle": ("circle", "circle", "disc"), "square": ("square",), "triangle": ("triangle",), "star": ("star",),
    "heart": ("heart",), "diamond": ("diamond",), "cross": ("cross", "plus"),
}
ENGLISH_SIZES = {"small": ("small", "small", "little", "tiny"), "medium": ("", "", "medium"), "large": ("large", "big", "big", "huge")}
ENGLISH_POSITIONS = {
    "top left": ("at the top left", "in the top left corner", "in the upper left"),
    "top": ("at the top", "at the top", "at the upper edge"),
    "top right": ("at the top right", "in the top right corner", "in the upper right"),
    "left": ("on the left", "at the left", "on the left side"),
    "centre": ("in the centre", "in the middle", "in the center", "at the centre", ""),
    "right": ("on the right", "at the right", "on the right side"),
    "bottom left": ("at the bottom left", "in the bottom left corner", "in the lower left"),
    "bottom": ("at the bottom", "at the bottom", "at the lower edge"),
    "bottom right": ("at the bottom right", "in the bottom right corner", "in the lower right"),
}
ENGLISH_SHAPE_FORMS = (
    "a {thing} {position} on a {ground} {back}",
    "a {thing} on a {ground} {back}, {position}",
    "{thing} {position}, {ground} {back}",
    "{thing}, {position}, {ground} {back}",
    "{ground} {back}, a {thing} {position}",
    "a {ground} {back} with a {thing} {position}",
    "on a {ground} {back} there is a {thing} {position}",
    "{position} a {thing}, the {back} is {ground}",
    "a picture of a {thing} {position} of a {ground} {back}",
)
ENGLISH_BACKS = ("ground", "background", "background")

CHINESE_COLOURS = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色",
    "pink": "粉色", "black": "黑色", "white": "白色",
}
CHINESE_SHAPES = {
    "circle": ("圆形", "圆"), "square": ("正方形", "方块"), "triangle": ("三角形",), "star": ("星星", "五角星"),
    "heart": ("心形", "爱心"), "diamond": ("菱形",), "cross": ("十字", "十字形"),
}
CHINESE_SIZES = {"small": ("小", "小小的"), "medium": ("", "", "中等的"), "large": ("大", "大大的", "巨大的")}
CHINESE_POSITIONS = {
    "top left": ("左上角", "左上方"), "top": ("上方", "顶部", "上面"), "top right": ("右上角", "右上方"),
    "left": ("左边", "左侧"), "centre": ("中央", "中间", "中心"), "right": ("右边", "右侧"),
    "bottom left": ("左下角", "左下方"), "bottom": ("下方", "底部", "下面"), "bottom right": ("右下角", "右下方"),
}
CHINESE_SHAPE_FORMS = (
    "{ground}背景{position}有一个{size}{colour}{shape}",
    "{ground}背景上，{position}一个{colour}{size}{shape}",
    "{position}有一个{colour}的{size}{shape}，{ground}背景",
    "一个{size}{colour}{shape}，{position}，{ground}背景",
    "{colour}{size}{shape}在{ground}背景的{position}",
    "画面{position}是{size}{colour}{shape}，背景是{ground}",
)
CHINESE_CENTRE_FORMS = ("{ground}背景上有一个{size}{colour}{shape}", "一个{colour}{size}{shape}，{ground}背景")

ENGLISH_TIMES = {
    "day": ("by day", "in daylight", "on a sunny day", "day", "at noon"),
    "dusk": ("at dusk", "at sunset", "in the evening", "dusk"),
    "night": ("at night", "by night", "night", "in the dark night"),
}
ENGLISH_LANDS = {"hills": ("hills", "green hills", "the hills", "hills"), "sea": ("the sea", "the ocean", "sea", "the sea")}
ENGLISH_LIGHTS = {"sun": ("the sun", "sun", "a sun"), "moon": ("the moon", "moon", "a moon"), "none": ("", "", "no sun and no moon")}
ENGLISH_OBJECTS = {"house": ("house", "house", "cottage"), "tree": ("tree",), "boat": ("boat", "sailing boat", "ship")}
ENGLISH_SIDES = {"left": ("on the left",), "middle": ("in the middle", "in the middle", "in the centre", ""), "right": ("on the right",)}
ENGLISH_LANDSCAPE_FORMS = (
    "{land} {time}, {object}, {light}",
    "{object}, {land} {time}, {light}",
    "{time}: {land}, {light}, {object}",
    "a landscape {time} with {land}, {light}, {object}",
    "{light} over {land} {time}, {object}",
    "{land}, {object}, {light}, {time}",
)

CHINESE_TIMES = {"day": ("白天", "晴天", "中午"), "dusk": ("黄昏", "傍晚", "日落"), "night": ("夜晚", "夜里", "黑夜")}
CHINESE_LANDS = {"hills": ("山丘", "小山", "山坡"), "sea": ("大海", "海面", "海")}
CHINESE_LIGHTS = {"sun": ("太阳", "一个太阳"), "moon": ("月亮", "一轮月亮"), "none": ("", "", "没有太阳和月亮")}
CHINESE_OBJECTS = {
    "house": ("一座{colour}的房子", "{colour}房子"), "tree": ("一棵树", "一棵大树"), "boat": ("一艘{colour}的船", "{colour}小船", "一条{colour}的船"),
}
CHINESE_SIDES = {"left": ("左边",), "middle": ("中间", "中间", ""), "right": ("右边",)}
CHINESE_LANDSCAPE_FORMS = (
    "{time}，{land}，{object}，{light}",
    "{time}的{land}，{light}，{object}",
    "{land}，{object}，{light}，{time}",
    "风景：{time}，{light}，{land}，{object}",
    "{light}，{land}，{object}，{time}",
)


def caption(scene, rng, language=None):
    """One of the scene's captions. A caption that leaves a word out means the word's usual value."""
    language = language or rng.choice(("en", "zh"))
    words = {("shape", "en"): english_shape, ("shape", "zh"): chinese_shape,
             ("landscape", "en"): english_landscape, ("landscape", "zh"): chinese_landscape}[scene["kind"], language]
    text = tidy(words(scene, rng))
    if language == "zh" and rng.random() < 0.3:
        text = text.replace("，", ",")
    if language == "en" and rng.random() < 0.4:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.15:
        text += "." if language == "en" else "。"
    return text


def tidy(text):
    """Remove what empty words leave behind: double spaces, commas without anything between them."""
    for mark in (",", "，"):
        parts = [part.strip() for part in text.split(mark)]
        text = (mark + " " if mark == "," else mark).join(part for part in parts if part)
    text = " ".join(text.split())
    return re.sub(r"\b([Aa]) (?=orange\b)", r"\1n ", text)


def english_shape(scene, rng):
    thing = [rng.choice(ENGLISH_SIZES[scene["size"]]), scene["colour"], rng.choice(ENGLISH_SHAPES[scene["shape"]])]
    back = rng.choice(ENGLISH_BACKS)
    if scene["ground"] == "white" and rng.random() < 0.15:
        return "a " + " ".join(word for word in thing if word) + " " + rng.choice(ENGLISH_POSITIONS[scene["position"]])
    position = rng.choice(ENGLISH_POSITIONS[scene["position"]])
    form = rng.choice(ENGLISH_SHAPE_FORMS[:7] if not position else ENGLISH_SHAPE_FORMS)
    return form.format(thing=" ".join(word for word in thing if word), position=position, ground=scene["ground"], back=back)


def chinese_shape(scene, rng):
    forms = CHINESE_SHAPE_FORMS
    if scene["position"] == "centre" and rng.random() < 0.25:
        forms = CHINESE_CENTRE_FORMS
    return rng.choice(forms).format(
        size=rng.choice(CHINESE_SIZES[scene["size"]]), colour=CHINESE_COLOURS[scene["colour"]],
        shape=rng.choice(CHINESE_SHAPES[scene["shape"]]), position=rng.choice(CHINESE_POSITIONS[scene["position"]]),
        ground=CHINESE_COLOURS[scene["ground"]])


def english_landscape(scene, rng):
    thing = ""
    if scene["object"] != "none":
        colour = scene["colour"] + " " if scene["colour"] != "none" else ""
        thing = f"a {colour}{rng.choice(ENGLISH_OBJECTS[scene['object']])} {rng.choice(ENGLISH_SIDES[scene['side']])}"
    light = rng.choice(ENGLISH_LIGHTS[scene["light"]])
    forms = [form for form in ENGLISH_LANDSCAPE_FORMS if scene["light"] != "none" or "over" not in form]
    return rng.choice(forms).format(
        time=rng.choice(ENGLISH_TIMES[scene["time"]]), land=rng.choice(ENGLISH_LANDS[scene["land"]]), light=light, object=thing)


def chinese_landscape(scene, rng):
    thing = ""
    if scene["object"] != "none":
        colour = CHINESE_COLOURS.get(scene["colour"], "")
        side = rng.choice(CHINESE_SIDES[scene["side"]])
        thing = side + ("有" if side and rng.random() < 0.6 else "") + rng.choice(CHINESE_OBJECTS[scene["object"]]).format(colour=colour)
    return rng.choice(CHINESE_LANDSCAPE_FORMS).format(
        time=rng.choice(CHINESE_TIMES[scene["time"]]), land=rng.choice(CHINESE_LANDS[scene["land"]]),
        light=rng.choice(CHINESE_LIGHTS[scene["light"]]), object=thing)


# ---------------------------------------------------------------- words outside the grammar

STRANGERS = (
    "beautiful", "photo", "dog", "cat", "highly detailed", "4k", "in the style of", "watercolour", "cinematic", "very",
    "please draw", "minimalist", "flat", "simple", "clean", "illustration", "masterpiece", "snow", "golden hour", "a girl",
    "高清照片", "金毛犬", "阳光草地", "一只", "可爱的", "插画", "简洁", "水彩", "漂亮的", "极简风格", "猫咪", "窗台", "🙂", "🌊", "✨🚀",
)


def noisy(text, rng):
    """The caption among words that mean nothing to the model, so that free wording does not upset it."""
    extra = [rng.choice(STRANGERS) if rng.random() < 0.7 else gibberish(rng) for _ in range(rng.randint(1, 2))]
    before = [word for word in extra if rng.random() < 0.4]
    after = [word for word in extra if word not in before]
    return ", ".join(before + [text] + after)


def gibberish(rng):
    """A word that nobody knows: Latin letters, Chinese characters or any other sign."""
    start, end = rng.choice(((0x61, 0x7A), (0x61, 0x7A), (0x4E00, 0x9FA5), (0x21, 0x17F), (0x1F300, 0x1F64F)))
    return "".join(chr(rng.randint(start, end)) for _ in range(rng.randint(1, 7 if end < 0x200 else 3)))


def stranger_caption(rng):
    """A caption of unknown words alone."""
    words = [rng.choice(STRANGERS) if rng.random() < 0.5 else gibberish(rng) for _ in range(rng.randint(1, 5))]
    return rng.choice((", ", " ", "，")).join(words)


def vocabulary():
    """Every word of the grammar, once, for the tokenizer: a leading space stands for a word inside a sentence."""
    words = set("，。：,.:有的在是一个上与和")
    english = [ENGLISH_SHAPES, ENGLISH_SIZES, ENGLISH_POSITIONS, ENGLISH_TIMES, ENGLISH_LANDS, ENGLISH_LIGHTS, ENGLISH_OBJECTS, ENGLISH_SIDES]
    phrases = list(COLOURS) + list(ENGLISH_SHAPE_FORMS) + list(ENGLISH_BACKS) + list(ENGLISH_LANDSCAPE_FORMS) + ["user", "assistant"]
    phrases += [phrase for table in english for options in table.values() for phrase in options]
    for phrase in phrases:
        for word in phrase.replace("{", " ").replace("}", " ").replace(",", " ").replace(":", " ").split():
            words |= {word, " " + word, word[0].upper() + word[1:]}
    chinese = [CHINESE_SHAPES, CHINESE_SIZES, CHINESE_POSITIONS, CHINESE_TIMES, CHINESE_LANDS, CHINESE_LIGHTS, CHINESE_SIDES]
    words |= set(CHINESE_COLOURS.values()) | {"背景", "画面", "风景", "一座", "一棵", "一艘", "一条", "房子", "小船", "船", "大树", "树", "一个"}
    words |= {word for table in chinese for options in table.values() for word in options if word}
    return sorted(words)


def rng_of(*parts):
    """A random generator named by its parts."""
    return random.Random("/".join(str(part) for part in parts))
