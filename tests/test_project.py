"""Rules of the whole repository: lint, sizes, which way imports point, what the metadata promises."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOST_MODULES = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "nodes", "server"}
TEMPLATES = ("example_workflows", "example", "examples", "workflow", "workflows")
LONGEST_CHAIN = 5  # files
OWN = {"clients", "nodes", "scripts", "svd_core", "tests"}


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(path):
    """Dotted names a file imports when it runs, relative ones as paths from the root: `nodes.host.model`."""
    package = path.relative_to(ROOT).parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {id(node) for block in tree.body if is_type_checking(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = [*package[: len(package) - node.level + 1]] if node.level else []
            stem += node.module.split(".") if node.module else []
            yield from ((node.level, ".".join([*stem, alias.name])) for alias in node.names)


def top(target):
    return target.partition(".")[0]


def host_imports(path):
    return {top(target) for level, target in imports(path) if level == 0} & HOST_MODULES


def test_lint_is_clean():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_are_formatted():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_types_are_sound():
    line = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def broken(paths, rule):
    """The files that break a rule, each with what breaks it; empty is good."""
    found = {path.relative_to(ROOT).as_posix(): sorted(rule(path)) for path in paths}
    return {path: what for path, what in found.items() if what}


def long_parts(path):
    text = path.read_text(encoding="utf-8")
    if text.count("\n") > 250:
        yield f"{text.count(chr(10))} lines, allowed 250"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and (lines := node.end_lineno - node.lineno + 1) > 45:
            yield f"{node.name}: {lines} lines, allowed 45"


def test_files_and_functions_stay_short():
    assert broken(sources("svd_core", "nodes", "scripts", "clients"), long_parts) == {}


def test_core_knows_nothing_of_host_or_nodes():
    def others(path):
        return host_imports(path) | {
            target for _, target in imports(path) if top(target) in OWN - {"svd_core"}
        }

    assert broken(sources("svd_core"), others) == {}


def test_imports_inside_the_pack_are_relative():
    def absolute(path):
        return {target for level, target in imports(path) if level == 0 and top(target) in OWN}

    assert broken(sources("svd_core", "nodes"), absolute) == {}


def test_only_the_host_glue_touches_host_internals():
    paths = [path for path in sources("nodes") if path.parent.name != "host"]
    assert broken(paths, lambda path: host_imports(path) - {"comfy_api", "folder_paths"}) == {}


def test_node_modules_do_not_import_each_other():
    def siblings(path):
        inner = {target.split(".")[1] for level, target in imports(path) if level and top(target) == "nodes"}
        return inner - {"convert", "files", "host", "inputs", "ladder", "validate", "widgets"}

    paths = [path for path in (ROOT / "nodes").glob("*.py") if path.name != "__init__.py"]
    assert broken(paths, siblings) == {}


def core_arrows():
    """Which modules of the core each one imports."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources("svd_core")}
    arrows = {}
    for module, path in modules.items():
        named = {target for _, target in imports(path)}
        arrows[module] = (named | {target.rpartition(".")[0] for target in named}) & set(modules) - {module}
    return arrows


def test_core_has_no_import_cycle():
    arrows = core_arrows()
    while leaves := [module for module, targets in arrows.items() if not targets]:
        arrows = {m: targets - set(leaves) for m, targets in arrows.items() if m not in leaves}
    assert not arrows


def chain(module, arrows):
    """The longest chain of imports that starts at a module, itself included."""
    return [module, *max((chain(target, arrows) for target in arrows[module]), key=len, default=[])]


def test_import_chains_in_the_core_are_short():
    """Whatever a file of the core stands on; training, commands and docstrings of packages are left out."""
    arrows = {m: t for m, t in core_arrows().items() if ".training" not in m and not m.endswith("__main__")}
    arrows = {m: {t for t in targets if not t.endswith("__init__")} for m, targets in arrows.items()}
    longest = max((chain(module, arrows) for module in arrows), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


def loaded_by(module):
    code = f"import {module}, sys; print(*[m for m in sys.modules if m.startswith('svd_core.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_samplers_load_no_network_and_no_reader_of_checkpoints():
    assert loaded_by("svd_core.sampling.samplers") == {
        "svd_core.sampling",
        "svd_core.sampling.samplers",
        "svd_core.signatures",
    }


def test_core_imports_without_the_host():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources("svd_core")]
    modules = [module.removesuffix(".__init__") for module in modules if not module.endswith("__main__")]
    load = f"import importlib, sys; [importlib.import_module(m) for m in {modules}]"
    code = load + "; assert 'comfy' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_and_client_need_only_the_standard_library():
    allowed = sys.stdlib_module_names | {"scripts", "clients"}
    foreign = broken(
        sources("scripts", "clients"), lambda path: {top(target) for _, target in imports(path)} - allowed
    )
    assert foreign == {}


def test_only_one_folder_is_named_like_templates():
    assert sum((ROOT / folder).exists() for folder in TEMPLATES) <= 1, (
        "the host serves only the first of these folders"
    )


def test_metadata_is_what_the_registry_reads():
    tomllib = pytest.importorskip("tomllib")
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", data["project"]["version"])
    floor = data["tool"]["comfy"]["requires-comfyui"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", floor), "two numbers are dropped"
    assert (ROOT / data["project"]["license"]["file"]).is_file()
    assert (ROOT / data["project"]["readme"]).is_file()
    assert data["project"]["dependencies"] == (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert not re.search(r"[=<>~]", " ".join(data["project"]["dependencies"])), "pins break hosts"
