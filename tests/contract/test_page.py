"""ROBUSTNESS.md is this folder as a page: every promise names the test that shows it, and the test exists."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "ROBUSTNESS.md"
PROOF = re.compile(r"\[`(test_\w+)`\]\(([^)]+\.py)\)")
OLDER = [Path(path) for path in os.environ.get("PURESVD_OLDER_HOSTS", "").split(os.pathsep) if path]


def proofs():
    """(file, test function) in the order of the page"""
    return [(path, name) for name, path in PROOF.findall(PAGE.read_text(encoding="utf-8"))]


def functions_of(path):
    return {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_named_on_the_page_exists():
    assert [(path, name) for path, name in proofs() if name not in functions_of(ROOT / path)] == []


def test_every_promise_names_a_test():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| Promise", "| File"))]
    assert len(promises) > 40
    assert [row for row in promises if not PROOF.search(row)] == []


def test_every_test_of_the_contract_is_on_the_page():
    folder = ROOT / "tests" / "contract"
    there = {
        (f"tests/contract/{path.name}", name)
        for path in folder.glob("test_*.py")
        for name in functions_of(path)
    }
    assert {entry for entry in there - set(proofs()) if not entry[0].endswith("test_page.py")} == set()


def test_links_of_the_page_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE.read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.slow  # the whole contract once more, in a process for each host
@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.name)
def test_contract_holds_on_older_hosts(path):
    variables = {**os.environ, "PURESVD_HOST": str(path), "PURESVD_OLDER_HOSTS": ""}
    chosen = sorted({f"{file}::{name}" for file, name in proofs() if not file.endswith("test_page.py")})
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--slow", *chosen]
    done = subprocess.run(line, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
