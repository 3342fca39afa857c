"""Renders 1024x1024 with so much of a card as smaller cards have, and prints what came of it.

    python3 check.py ZIMAGED FOLDER          FOLDER/model is the model; run by check.sh
"""

import ctypes
import os
import shutil
import sqlite3
import subprocess
import sys
import time

CARDS_GIB = (6, 8, 12, 24)
JOB = 'prompt = "a red fox in the snow"\nwidth = 1024\nheight = 1024\nsteps = 8\nseed = 1\nnum_images = 2\n'
# All of it, the weights written before included, is to take less than nine minutes.
BUDGET_S = 440
# A worker that has ended gives its memory back within this.
SETTLE_S = 20


class Card:
    """The first card, through the driver: what is free, and blocks that nobody else can have."""

    def __init__(self):
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.device, self.context = ctypes.c_int(), ctypes.c_void_p()
        self.ask("cuInit", 0)
        self.ask("cuDeviceGet", ctypes.byref(self.device), 0)
        self.ask("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), self.device)
        self.ask("cuCtxSetCurrent", self.context)
        self.taken = []

    def ask(self, function, *arguments):
        status = getattr(self.driver, function)(*arguments)
        if status != 0:
            raise RuntimeError(f"{function} failed with {status}")

    def free_bytes(self):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.ask("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def wait_for(self, free_bytes):
        """Until about so much is free again."""
        deadline = time.monotonic() + SETTLE_S
        while self.free_bytes() < free_bytes - (64 << 20) and time.monotonic() < deadline:
            time.sleep(0.2)

    def leave(self, left_bytes):
        """Takes all but so much; False where there is not so much."""
        size = self.free_bytes() - left_bytes
        if size <= 0:
            return False
        pointer = ctypes.c_uint64()
        self.ask("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        self.taken.append(pointer)
        return True

    def give_back(self):
        while self.taken:
            self.ask("cuMemFree_v2", self.taken.pop())


def render(zimaged, folder, label, left_gib, timeout_s):
    """Two pictures by a daemon with nothing kept from before: the rows of its attempts.

    The daemon sees the whole card's size; its reserve is that of a card of the size that is left.
    """
    house = f"{folder}/{label}"
    shutil.rmtree(house, ignore_errors=True)
    os.makedirs(f"{house}/jobs")
    with open(f"{house}/daemon.toml", "w") as file:
        reserve = f'reserve = "{max(512, left_gib * 1024 // 20)}MiB"\n' if left_gib else ""
        file.write(f'[model]\npath = "{os.path.abspath(folder)}/model"\n[device]\nkind = "cuda"\n{reserve}')
    with open(f"{house}/jobs/fox.toml", "w") as file:
        file.write(JOB)
    log = open(f"{house}/log", "w")
    command = [zimaged, "--config", f"{house}/daemon.toml", "run", "--until-idle"]
    try:
        subprocess.run(command, stdout=log, stderr=log, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        print(f"{label}: not done within {timeout_s:.0f} s, see {house}/log")
    if not os.path.exists(f"{house}/state/zimaged.sqlite"):
        print(f"{label}: the daemon made no database, see {house}/log")
        return []
    database = sqlite3.connect(f"{house}/state/zimaged.sqlite")
    return database.execute(
        "SELECT w.device, coalesce(w.load_ms, 0) / 1000.0, a.rung_text, a.outcome, a.predicted_bytes, "
        "max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes), a.text_encode_ms / 1000.0, "
        "a.denoise_ms / 1000.0, a.vae_decode_ms / 1000.0, a.total_ms / 1000.0 "
        "FROM attempts a LEFT JOIN workers w ON w.id = a.worker_id ORDER BY a.id").fetchall()


def print_head():
    print("| left | load s | rung | outcome | predicted GB | measured GB | ratio | text s | denoise s | decode s | total s |")
    print("|" + " --- |" * 11)


def print_rows(label, rows):
    for _, load, rung, outcome, predicted, measured, *seconds in rows:
        ratio = f"{measured / predicted:.3f}" if predicted else "-"
        times = " | ".join(f"{value:.2f}" for value in seconds)
        sizes = f"{(predicted or 0) / 1e9:.2f} | {measured / 1e9:.2f}"
        print(f"| {label} | {load:.1f} | {rung} | {outcome} | {sizes} | {ratio} | {times} |", flush=True)


def main(zimaged, folder):
    card, deadline = Card(), time.monotonic() + BUDGET_S
    all_free, name = card.free_bytes(), None
    print_head()
    for left_gib in (*CARDS_GIB, None):
        label = f"{left_gib}gib" if left_gib else "all"
        card.wait_for(all_free)
        if left_gib and not card.leave(left_gib << 30):
            print(f"| {label} | - | the card has less |" + " |" * 8)
            continue
        rows = render(zimaged, folder, label, left_gib, max(deadline - time.monotonic(), 1))
        print_rows(label, rows)
        name = rows[-1][0] if rows else name
        card.give_back()
    print(f"\ncard: {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
