"""Renders 1024x1024 with the full-size model on simulated cards: python3 full_size.py ZIMAGED FOLDER, run by full_size.sh"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "check"))
from house import job, render  # noqa: E402
from parts import row, table  # noqa: E402

CARDS_GIB = (6, 8, 10, 12, 16, 24)
TIMEOUT_S = 120


def main(zimaged, folder):
    os.environ["SIM_DRY"] = "1"
    table("card", "rung", "outcome", "predicted GB", "measured GB", "ratio")
    for gib in CARDS_GIB:
        label = f"{gib}gib"
        os.environ["SIM_CARD_BYTES"] = str(gib << 30)
        os.environ["SIM_COUNTS"] = f"{folder}/{label}.counts"
        jobs = [job(1024, 1024, images=2)]
        for attempt in render(zimaged, f"{folder}/{label}", f"{folder}/model", jobs, TIMEOUT_S):
            predicted, measured = attempt.predicted_bytes or 0, attempt.measured_bytes
            ratio = f"{measured / predicted:.3f}" if predicted else "-"
            row(f"{gib} GiB", attempt.rung, attempt.outcome, f"{predicted / 1e9:.2f}", f"{measured / 1e9:.2f}", ratio)


if __name__ == "__main__":
    main(*sys.argv[1:])
