"""A daemon with a folder of its own, which renders some jobs and ends; and what its database tells of it."""

import json
import os
import shutil
import sqlite3
import subprocess
import time
from dataclasses import dataclass

ATTEMPTS = """
SELECT a.width, a.height, a.rung_text, a.outcome, a.message, a.predicted_bytes,
       max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes), a.text_encode_ms, a.denoise_ms, a.step_ms,
       a.vae_decode_ms, a.total_ms, a.started_at_ms, a.ended_at_ms, coalesce(w.load_ms, 0), a.path
FROM attempts a LEFT JOIN workers w ON w.id = a.worker_id ORDER BY a.id"""


@dataclass
class Attempt:
    width: int
    height: int
    rung: str
    outcome: str
    message: str
    predicted_bytes: int
    measured_bytes: int
    text_ms: int
    denoise_ms: int
    step_ms: list
    decode_ms: int
    total_ms: int
    started_at_ms: int
    ended_at_ms: int
    load_ms: int
    path: str

    @property
    def size(self):
        return f"{self.width}x{self.height}"


def job(width, height, steps=8, images=1, seed=1, prompt="a red fox in the snow", **more):
    """A job file's text."""
    values = {"prompt": prompt, "width": width, "height": height, "steps": steps, "min_steps": steps,
              "num_images": images, "seed": seed, **more}
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def render(zimaged, house, model, jobs, timeout_s, device="", environment=None, kind="cuda"):
    """The attempts of a daemon that knows nothing of earlier ones. `jobs` are texts, rendered in this order; `device`
    are lines of its configuration, `environment` more variables."""
    shutil.rmtree(house, ignore_errors=True)
    os.makedirs(f"{house}/jobs")
    with open(f"{house}/daemon.toml", "w") as file:
        path = json.dumps(os.path.abspath(model))
        file.write(f'[http]\nenabled = false\n[model]\npath = {path}\n[device]\nkind = "{kind}"\n{device}\n')
    for number, text in enumerate(jobs):
        with open(f"{house}/jobs/{number:03}.toml", "w") as file:
            file.write(text)
    command = [zimaged, "--config", f"{house}/daemon.toml", "run", "--until-idle"]
    with open(f"{house}/log", "w") as log:
        try:
            subprocess.run(command, stdout=log, stderr=log, timeout=timeout_s, check=False,
                           env=os.environ | (environment or {}))
        except subprocess.TimeoutExpired:
            print(f"not done within {timeout_s:.0f} s: see {house}/log", flush=True)
    return attempts(house)


def attempts(house):
    path = f"{house}/state/zimaged.sqlite"
    if not os.path.exists(path):
        print(f"the daemon made no database: see {house}/log", flush=True)
        return []
    rows = sqlite3.connect(path).execute(ATTEMPTS).fetchall()
    return [Attempt(*row[:9], json.loads(row[9]), *row[10:]) for row in rows]


class Deadline:
    """When all has to be done."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left_s(self):
        return max(self.end - time.monotonic(), 1.0)
