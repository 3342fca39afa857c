#!/usr/bin/env python3
"""Keeps tools/advisories.toml: what is known to harm in the crates of Cargo.lock. Needs git and Python 3.11.

    tools/advisories.py refresh CLONE    # after a change of Cargo.lock, from a clone of the database
    tools/advisories.py write FOLDER     # as the database that `cargo deny --offline check advisories` reads there

The database is https://github.com/rustsec/advisory-db.
Only facts are taken over, and no text: what an advisory says stands at https://rustsec.org/advisories/ID.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import textwrap
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
FACTS = ROOT / "tools" / "advisories.toml"
# What cargo-deny calls its folder of this database: after the hash of the address.
DATABASE = "advisory-db-3157b0e258782691"
ABOUT, VERSIONS = ("id", "package", "date", "informational"), ("patched", "unaffected")

HEAD = """# What is known to harm in the crates of Cargo.lock: facts of RustSec's advisory database, which is CC0
# (https://github.com/rustsec/advisory-db), written by tools/advisories.py. Those that were withdrawn are left out.
# `as_of` is the day of the last change that was seen.
"""


def locked():
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return sorted({package["name"] for package in packages if "source" in package})


def front(path):
    """The table of an advisory, which stands before its text."""
    return tomllib.loads(path.read_text().split("```")[1].removeprefix("toml"))


def lines(table, keys):
    """Of a table what stands under these keys, as TOML: it has JSON's strings and lists of them."""
    return [f"{key} = {json.dumps(table[key])}" for key in keys if key in table]


def refresh(clone):
    if not (clone / "crates").is_dir():
        sys.exit(f"{clone} has no folder `crates`: it is no clone of https://github.com/rustsec/advisory-db")
    paths = [path for crate in locked() for path in sorted((clone / "crates" / crate).glob("RUSTSEC-*.md"))]
    tables = [table for table in map(front, paths) if "withdrawn" not in table["advisory"]]
    command = ["git", "-C", clone, "log", "-1", "--format=%cs"]
    day = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    asked = textwrap.fill(" ".join(locked()), 100, break_on_hyphens=False)
    text = [HEAD, f'as_of = "{day}"', "# The crates that were asked about; most have none.", 'asked = """', asked, '"""']
    for table in tables:
        text += ["", "[[advisory]]", *lines(table["advisory"], ABOUT), *lines(table["versions"], VERSIONS)]
    FACTS.write_text("\n".join(text) + "\n")


def page(advisory):
    """One advisory as the database has it, with a title of our own."""
    title = f"# {advisory['package']} is {advisory.get('informational', 'vulnerable')}"
    tables = ["[advisory]", *lines(advisory, ABOUT), "[versions]", *lines(advisory, VERSIONS)]
    return "\n".join(["```toml", *tables, "```", "", title, ""])


def write(folder):
    known = tomllib.loads(FACTS.read_text())
    if unknown := set(locked()) - set(known["asked"].split()):
        names = ", ".join(sorted(unknown))
        sys.exit(f"tools/advisories.toml was not asked about {names}: run tools/advisories.py refresh CLONE")
    database = folder / DATABASE
    shutil.rmtree(database, ignore_errors=True)
    for advisory in known["advisory"]:
        path = database / "crates" / advisory["package"] / f"{advisory['id']}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(advisory))
    subprocess.run(["git", "init", "--quiet", database], check=True)
    # cargo-deny asks this file for the time of the last fetch.
    (database / ".git" / "FETCH_HEAD").touch()
    print(f"{len(known['advisory'])} advisories as of {known['as_of']}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["refresh", clone]:
            refresh(pathlib.Path(clone))
        case ["write", folder]:
            write(pathlib.Path(folder))
        case _:
            sys.exit(__doc__)
