"""Change the core's equations one operator at a time and count the changes that the fast tests notice.

[--sample N] [--seed S] [patterns]: N mutants drawn at random, all by default; or those whose names match.
`[tool.mutmut]` in pyproject.toml says which files are changed and which tests judge them. POSIX only.
"""

import argparse
import fnmatch
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients import command  # noqa: E402
from scripts import cache, environment, host  # noqa: E402

REQUIREMENTS = cache.ROOT / "requirements-mutation.txt"
COPIED = ("svd_core", "tests", "scripts", "clients", "pyproject.toml", "README.md")
WORK = cache.folder() / "mutation"
SURVIVED, NOT_RUN = (0, 33), (None, 34)  # exit codes as mutmut keeps them; 33: no test reaches the function


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="so many of the mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--least", type=float, default=85.0, help="percent to catch (default: %(default)s)")
    parser.add_argument("patterns", nargs="*", help="names of mutants; * and ? as in a shell")
    args = parser.parse_args(arguments)
    python = environment.prepare(host.find(), tests=True)
    line = [str(python), "-m", "mutmut", "run", "--max-children", "1"]
    tools = environment.beside(python, REQUIREMENTS)
    variables = cache.clean() | {"PYTHONPATH": str(tools), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    copy_tree()
    cache.say("writing the mutants, and timing the tests that reach them")
    subprocess.run([*line, "none of them"], cwd=WORK, env=variables, capture_output=True, check=False)
    names = sorted(results())
    chosen = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in args.patterns)]
    chosen = chosen if args.patterns else names
    if args.sample and args.sample < len(chosen):
        chosen = sorted(random.Random(args.seed).sample(chosen, args.sample))
    if not chosen:
        raise SystemExit(f"none of {len(names)} mutants was chosen; see the log of `mutmut run` in {WORK}")
    cache.say(f"{len(chosen)} of {len(names)} mutants")
    subprocess.run([*line, *chosen], cwd=WORK, env=variables, check=False)
    return report(chosen, python, variables, least=args.least)


def copy_tree() -> None:
    """The files that mutmut needs, fresh, outside the checkout."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for name in COPIED:
        source = cache.ROOT / name
        if source.is_dir():
            shutil.copytree(source, WORK / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, WORK / name)


def results() -> dict[str, int | None]:
    """Exit code of the tests for every mutant, by its name; None before it ran."""
    found: dict[str, int | None] = {}
    for path in (WORK / "mutants").rglob("*.meta"):
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def report(chosen: list[str], python: Path, variables: dict[str, str], *, least: float) -> int:
    """Say the score and show every survivor; 1 where too few were caught."""
    codes = results()
    ran = [name for name in chosen if codes[name] not in NOT_RUN]
    survivors = [name for name in ran if codes[name] in SURVIVED]
    for name in survivors:
        subprocess.run([str(python), "-m", "mutmut", "show", name], cwd=WORK, env=variables, check=False)
    caught = 100 * (1 - len(survivors) / len(ran)) if ran else 0.0
    cache.say(f"{len(ran) - len(survivors)} of {len(ran)} mutants caught: {caught:.1f} %, wanted {least:g} %")
    return 0 if caught >= least else 1


if __name__ == "__main__":
    os.nice(10)
    command.run(main)
