"""python3 tools/gpu/check ZIMAGED FOLDER [PART...]: run by check.sh, FOLDER/model is the model."""

import sys
import time

import card
import parts
from house import Deadline

# All of it, the weights written before included, is to take less than eight minutes.
BUDGET_S = 420
ORDER = (parts.parity, parts.times, parts.int8, parts.small, parts.profile, parts.torch)


class Check:
    def __init__(self, zimaged, folder):
        self.zimaged, self.folder, self.model = zimaged, folder, f"{folder}/model"
        self.card, self.deadline = card.Card(), Deadline(BUDGET_S)


def main(zimaged, folder, *wanted):
    check = Check(zimaged, folder)
    print(f"card: {card.name()}")
    for part in ORDER:
        if wanted and part.__name__ not in wanted:
            continue
        start = time.monotonic()
        try:
            part(check)
        except Exception as error:  # The other parts are worth having.
            print(f"{part.__name__} failed: {type(error).__name__}: {error}")
        print(f"\n({part.__name__}: {time.monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
