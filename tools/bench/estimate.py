"""How near the first estimate of a picture's time comes: before any was made, and after.

python tools/bench/estimate.py target/release/zimaged

For each kind of picture one new folder of the miniature on the processor: the device is measured, `check` estimates, then
three pictures are made. Nothing else should run. Prints the estimate, the median of what was measured, and their ratio.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = {
    "256x256, 8 steps": "size = '256x256'\nsteps = 8\n",
    "256x256, 8 steps, guided": "size = '256x256'\nsteps = 8\nguidance = 3.0\n",
    "256x256, 8 steps, guided until 0.3": "size = '256x256'\nsteps = 8\nguidance = 3.0\nguidance_truncation = 0.3\n",
    "512x512, 8 steps": "size = '512x512'\nsteps = 8\n",
    "768x512, 4 steps": "size = '768x512'\nsteps = 4\nmin_steps = 4\n",
}
PROMPTS = ["a red circle on blue ground", "a blue star on green ground", "a green square on red ground"]
MODEL = Path(__file__).resolve().parents[2] / "models/mini"
PATIENCE_S = 120


def measure(zimaged: str, kind: str) -> tuple[float, float]:
    """Estimated and measured seconds of one picture."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "daemon.toml").write_text(f"[model]\npath = '{MODEL}'\n[device]\nkind = 'cpu'\n")
        Path(folder, "job.toml").write_text(f"prompt = {json.dumps(PROMPTS)}\nseed = 1\n{kind}")

        def ask(*arguments: str) -> dict:
            command = [zimaged, *arguments, "--json"]
            return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout)

        daemon = subprocess.Popen([zimaged, "-q", "run"], cwd=folder)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not (ask("status").get("daemon") or {}).get("worker", {}).get("state") == "ready":
                assert time.monotonic() < deadline, "the model is not loaded"
                time.sleep(0.1)
            expected = ask("check", "job.toml")["expected"]
            assert expected["is_estimate"], expected
            pictures = ask("submit", "--wait", "job.toml")["pictures"]
            assert all(picture["state"] == "done" for picture in pictures), pictures
        finally:
            daemon.terminate()
            daemon.wait()
        made = statistics.median(picture["total_s"] for picture in pictures)
        return expected["work_ms"] / 1000 / len(PROMPTS), made


def main() -> None:
    zimaged = str(Path(sys.argv[1]).resolve())
    print("| | estimated | measured | ratio |\n| --- | --- | --- | --- |")
    for name, kind in KINDS.items():
        estimated, made = measure(zimaged, kind)
        print(f"| {name} | {estimated:.2f} s | {made:.2f} s | {estimated / made:.2f} |", flush=True)


if __name__ == "__main__":
    main()
