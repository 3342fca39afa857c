#!/usr/bin/env python3
"""Does faults to the program many times, and writes what was seen into docs/reliability.md.

    tools/faults.py kills 10000     SIGKILL, at random moments and at system calls
    tools/faults.py cuts 1000       power cuts, on a filesystem of their own; for root
    tools/faults.py locked 60       another program locks the database for so many seconds
    tools/faults.py soak 20000      so many scripted renders and a hundredth as many real ones, with faults on
    tools/faults.py mounts          disks that are full, read-only or gone; for root
    tools/faults.py overwritten     files of the database that somebody writes into
    tools/faults.py databases       a database that is locked, damaged, replaced or taken away
    tools/faults.py                 each case as often as the tests do

FAULTS_SEED=NUMBER in the environment repeats the choices of an earlier run.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/reliability.md"
RECORD = ROOT / "target/tmp/faults/record.tsv"
BEGIN = "| fault | expected | tried | seen |\n| --- | --- | --- | --- |\n"
NUMBERS = {"kills": "FAULTS_KILLS", "cuts": "FAULTS_CUTS", "locked": "FAULTS_LOCK_S", "soak": "FAULTS_SOAK"}


def rows(text):
    """The table's rows, by their faults."""
    table = text.partition(BEGIN)[2].partition("\n\n")[0]
    return {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    environment = dict(os.environ)
    if len(sys.argv) > 2:
        environment[NUMBERS[what]] = sys.argv[2]
    RECORD.unlink(missing_ok=True)
    # Eight at once, on any machine: each test waits for most of its time.
    command = ["cargo", "test", "--test", "faults", "--", "--nocapture", "--test-threads=8"] + ([what] if what else [])
    # Mounts of our own: a container that starts meanwhile would get a copy of each disk, and keep it without power.
    mounts = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run(mounts + ["true"], stderr=subprocess.DEVNULL).returncode == 0:
        command = mounts + command + ["--include-ignored"]
    result = subprocess.run(command, cwd=ROOT, env=environment)
    text = DOCUMENT.read_text()
    known = rows(text)
    for line in RECORD.read_text().splitlines() if RECORD.exists() else []:
        fault, expected, tried, seen = line.split("\t")
        known[fault] = f"| {fault} | {expected} | {int(tried):,} | {seen} |"
    before, _, after = text.partition(BEGIN)
    rest = after.partition("\n\n")[2]
    DOCUMENT.write_text(before + BEGIN + "\n".join(known.values()) + "\n\n" + rest)
    sys.exit(result.returncode)


if __name__ == "__main__":
    main()
