"""Stage 2: the tokenizer and the text encoder.

The encoder is first taught alone, which costs a few minutes, to say which scene a caption means: classifiers read the
last tokens of the template, where a causal encoder has seen the whole caption. The transformer then finds the scene's
words ready in its caption instead of having to discover language through pictures. It goes on learning with the
transformer (transformer.py); the classifiers are thrown away.
"""

import json
import os
import random

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import Qwen3Config, Qwen3Model

import scenes
from common import (
    Budget, Log, Optimiser, average_gradients, learning_rate, load_checkpoint, one_process, rank, save_checkpoint)

HIDDEN = 192
LAYERS = 3  # the pipeline reads the input of the last one: two are used
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
# Qwen2's rule for splitting text before byte pairs are merged.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
FIELDS = {
    "kind": ("shape", "landscape"), "shape": scenes.SHAPES, "colour": tuple(scenes.COLOURS), "ground": tuple(scenes.COLOURS),
    "position": tuple(scenes.POSITIONS), "size": tuple(scenes.SIZES), "time": scenes.TIMES, "land": scenes.LANDS,
    "light": scenes.LIGHTS, "object": scenes.OBJECTS, "side": tuple(scenes.SIDES) + ("none",),
}
READ_TOKENS = 3  # "<|im_start|>", "assistant", the line's end
PEAK_RATE = 2e-3


def template(prompt):
    """The text that the pipeline gives to the tokenizer."""
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def train_tokenizer(folder):
    """Byte-level pairs, so that any text has tokens; merges only within the grammar's words, so that words stay words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1400, min_frequency=1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(scenes.vocabulary(), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(f"{folder}/tokenizer.json")
    config = {
        "add_prefix_space": False, "backend": "tokenizers", "bos_token": None, "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>", "errors": "replace", "model_max_length": 131072, "pad_token": "<|endoftext|>",
        "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer", "unk_token": None}
    with open(f"{folder}/tokenizer_config.json", "w") as file:
        json.dump(config, file, indent=2)
    with open(f"{folder}/chat_template.jinja", "w") as file:
        file.write(CHAT_TEMPLATE)


class Words:
    """Captions to rows of token numbers, padded on the right to a multiple of 32, as the transformer pads them."""

    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.pad = self.tokenizer.token_to_id("<|endoftext|>")

    def __call__(self, captions, limit=512):
        rows = [encoding.ids[:limit] for encoding in self.tokenizer.encode_batch([template(c) for c in captions])]
        lengths = torch.tensor([len(row) for row in rows])
        width = -(-int(lengths.max()) // 32) * 32
        ids = torch.full((len(rows), width), self.pad)
        for i, row in enumerate(rows):
            ids[i, :len(row)] = torch.tensor(row)
        return ids, lengths

    def length(self, caption):
        return len(self.tokenizer.encode(template(caption)).ids)

    def size(self):
        return self.tokenizer.get_vocab_size()


def build(vocabulary):
    return Qwen3Model(Qwen3Config(
        vocab_size=vocabulary, hidden_size=HIDDEN, intermediate_size=384, num_hidden_layers=LAYERS, num_attention_heads=6,
        num_key_value_heads=3, head_dim=32, max_position_embeddings=40960, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, initializer_range=0.05,
        pad_token_id=None, bos_token_id=None, eos_token_id=None))


def matrices(encoder):
    """What Muon trains: the matrices of the layers that are used."""
    return [p for layer in encoder.layers[:-1] for p in layer.parameters() if p.ndim == 2]


def embed(encoder, ids):
    """What the pipeline takes: the input of the last layer. Under the causal mask, right padding changes nothing."""
    return encoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-2]


class Reader(nn.Module):
    """Classifiers of the scene's words, from the last tokens' embeddings."""

    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(HIDDEN)
        self.heads = nn.ModuleDict({name: nn.Linear(HIDDEN * READ_TOKENS, len(words)) for name, words in FIELDS.items()})

    def forward(self, embeddings, lengths):
        at = lengths[:, None] - READ_TOKENS + torch.arange(READ_TOKENS, device=lengths.device)
        rows = torch.arange(len(lengths), device=lengths.device)[:, None]
        seen = self.norm(embeddings[rows, at]).flatten(1)
        return {name: head(seen) for name, head in self.heads.items()}


def targets(scene_list):
    """Each scene's words as class numbers; -100 where a word does not apply or no caption could tell it."""
    def number(scene, name):
        word = scene.get(name)
        return FIELDS[name].index(word) if word in FIELDS[name] else -100
    return {name: torch.tensor([number(scene, name) for scene in scene_list]) for name in FIELDS}


def reading_loss(answers, wanted):
    """Mean cross entropy of the fields that apply, and the share that was right."""
    losses, right, asked = [], 0, 0
    for name, logits in answers.items():
        goal = wanted[name].to(logits.device)
        applies = goal >= 0
        if applies.any():
            losses.append(nn.functional.cross_entropy(logits.float()[applies], goal[applies]))
            right += (logits.argmax(1)[applies] == goal[applies]).sum().item()
            asked += applies.sum().item()
    return torch.stack(losses).mean(), right / max(asked, 1)


def short_wording(scene, rng, words):
    """A caption as training meets it: plain mostly, sometimes among strangers, and within 32 tokens with the template."""
    if rng.random() < 0.15:
        text = scenes.noisy(scenes.caption(scene, rng), rng)
        if words.length(text) <= 32:
            return text
    while True:
        text = scenes.caption(scene, rng)
        if words.length(text) <= 32:
            return text


def train(minutes, work, log_folder, device):
    """Teach the encoder to read; resume from the checkpoint in `work`."""
    path = f"{work}/text.pt"
    with one_process():
        if not os.path.exists(f"{work}/tokenizer/tokenizer.json"):
            train_tokenizer(f"{work}/tokenizer")
    words = Words(f"{work}/tokenizer")
    torch.manual_seed(1)
    encoder, reader = build(words.size()).to(device), Reader().to(device)
    parameters = [*encoder.parameters(), *reader.parameters()]
    optimiser = Optimiser(matrices(encoder), [p for p in parameters if all(p is not m for m in matrices(encoder))])
    budget, step = Budget(minutes), 0
    if state := load_checkpoint(path):
        encoder.load_state_dict(state["encoder"])
        reader.load_state_dict(state["reader"])
        optimiser.load_state_dict(state["optimiser"])
        budget, step = Budget(minutes, state["spent"]), state["step"]
    log = Log(f"{log_folder}/text.csv", ("loss", "right"), every=25)
    rng = random.Random(1000 + step * 8 + rank())
    while budget.progress < 1:
        batch = [scenes.training_scene(rng) for _ in range(128)]
        ids, lengths = words([short_wording(scene, rng, words) for scene in batch])
        with torch.autocast(device, torch.bfloat16):
            answers = reader(embed(encoder, ids.to(device)), lengths.to(device))
        loss, right = reading_loss(answers, targets(batch))
        optimiser.zero_grad()
        loss.backward()
        average_gradients(parameters, budget)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step(learning_rate(PEAK_RATE, budget.progress, step, warmup=50))
        budget.tick()
        log.add(step, budget, loss=loss.item(), right=right)
        step += 1
        if step % 50 == 0 or budget.progress >= 1:
            save_checkpoint(path, encoder=encoder.state_dict(), reader=reader.state_dict(),
                            optimiser=optimiser.state_dict(), spent=budget.spent, step=step)
