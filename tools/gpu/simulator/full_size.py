"""Renders 1024x1024 with the full-size model on simulated cards: python3 full_size.py ZIMAGED FOLDER, run by full_size.sh"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import check  # noqa: E402

CARDS_GIB = (6, 8, 10, 12, 16, 24)
TIMEOUT_S = 120


def main(zimaged, folder):
    os.environ["SIM_DRY"] = "1"
    check.print_head()
    for gib in CARDS_GIB:
        label = f"{gib}gib"
        os.environ["SIM_CARD_BYTES"] = str(gib << 30)
        os.environ["SIM_COUNTS"] = f"{folder}/{label}.counts"
        check.print_rows(label, check.render(zimaged, folder, label, None, TIMEOUT_S))


if __name__ == "__main__":
    main(*sys.argv[1:])
