#!/usr/bin/env python3
"""Writes THIRD-PARTY.md: the crates that are compiled into zimaged, and their licences. Needs cargo and Python 3.11.

    tools/licences.py            # after a change of Cargo.lock
    tools/licences.py --check    # fails if the file is out of date, or a licence is not in deny.toml

Where a crate may be taken under Apache-2.0 it is, so that its text (LICENSE) stands for all of them.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "THIRD-PARTY.md"
# The glyphs that the crate `unifont` holds are not the crate's own: GNU Unifont, which may be taken under the OFL.
FONT = ROOT / "tools" / "unifont.txt"
PLATFORM = "x86_64-unknown-linux-gnu"
PREFERRED = "Apache-2.0"
TEXT_NAMES = ("LICEN", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT")

HEAD = """# Third-party crates

What is compiled into zimaged on Linux with all features, written by `tools/licences.py`. Crates under Apache-2.0 have
its text in [LICENSE](LICENSE); the texts of the others are below. SQLite, which `libsqlite3-sys` compiles, is in the
public domain. The glyphs in `unifont` are those of GNU Unifont, under the SIL Open Font License 1.1. With the `cuda`
feature NVIDIA's libraries are linked at start and not shipped.
"""


def metadata():
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1", "--filter-platform", PLATFORM]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def is_compiled_in(dependency):
    """Not for the tests alone, and not for build scripts."""
    return any(kind["kind"] is None for kind in dependency["dep_kinds"])


def crates(found):
    """The crates that the program links, by name and version, without itself and without macros' own."""
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    root = found["resolve"]["root"]
    reached, waiting = set(), [root]
    while waiting:
        crate = waiting.pop()
        if crate in reached or is_macro(packages[crate]):
            continue
        reached.add(crate)
        waiting += [dep["pkg"] for dep in nodes[crate]["deps"] if is_compiled_in(dep)]
    linked = [packages[crate] for crate in reached - {root}]
    return sorted(linked, key=lambda package: (package["name"], package["version"]))


def is_macro(package):
    return any("proc-macro" in target["kind"] for target in package["targets"])


def licence(package):
    """The licence that is taken of those offered."""
    offered = (package["license"] or "none").replace("/", " OR ")
    choices = re.split(r"\s+OR\s+", offered)
    return PREFERRED if PREFERRED in choices else offered


def text(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.name.upper().startswith(TEXT_NAMES) and path.is_file())
    # Of several texts the crate's own choice is MIT's, where there is one.
    files = [path for path in files if "MIT" in path.name.upper()] or files
    return "\n\n".join(path.read_text().strip() for path in files)


def document(linked):
    lines = [HEAD, "| crate | version | licence |", "| --- | --- | --- |"]
    lines += [f"| {crate['name']} | {crate['version']} | {licence(crate)} |" for crate in linked]
    for crate in linked:
        if licence(crate) != PREFERRED:
            lines += ["", f"## {crate['name']}", "", "```text", text(crate) or crate["license"], "```"]
    lines += ["", "## GNU Unifont 15.1.05, the glyphs in the crate unifont", "", "```text", FONT.read_text().strip(), "```"]
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()) + "\n"


def refused(linked):
    """The crates whose licence is not allowed."""
    allowed = set(tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"])
    return [f"{crate['name']}: {licence(crate)}" for crate in linked if not is_allowed(licence(crate), allowed)]


def is_allowed(expression, allowed):
    """Whether an SPDX expression, such as `(MIT OR X) AND Y`, holds for the licences that are allowed."""
    value = {"(": "(", ")": ")", "AND": "and", "OR": "or"}
    words = re.findall(r"[()]|[^()\s]+", expression)
    return eval(" ".join(value.get(word, str(word in allowed)) for word in words))


def main(arguments):
    linked = crates(metadata())
    if found := refused(linked):
        sys.exit("not allowed by deny.toml: " + "; ".join(found))
    if arguments != ["--check"]:
        OUTPUT.write_text(document(linked))
    elif not OUTPUT.exists() or OUTPUT.read_text() != document(linked):
        sys.exit("THIRD-PARTY.md is out of date: run tools/licences.py")


if __name__ == "__main__":
    main(sys.argv[1:])
