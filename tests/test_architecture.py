"""The rules that keep the package readable: imports go downwards and never in a circle, and importing it is light."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "autosft"

# By the name below `autosft`: a module may import from its own layer and from those below it.
LAYERS = {
    "errors": 0, "counting": 0,
    "arrays": 1, "task": 1, "data": 1, "base_models": 1, "model_folder": 1, "model_hub": 1, "accounting": 1, "disk": 1,
    "interrupt": 1, "plugins": 1, "cache": 1, "made_models": 1, "class_names": 1, "time_limit": 1,
    "tasks": 2, "inputs": 2, "trainers": 2, "augment": 2,
    "argument_types": 3, "budget": 3, "infer": 3, "label_errors": 3, "inference": 3, "intervals": 3, "prepare": 3,
    "planning": 3, "search": 3, "refit": 3, "soup": 3, "proof": 3, "run_folder": 3, "finish": 3, "predictor": 3,
    "result": 3, "tracking": 3, "testing": 3, "card": 3, "calibration": 3, "report": 3, "reviewing": 3, "cluster": 3,
    "ensemble": 3,
    "api": 4, "sitting": 4,
    "cli": 5, "shell": 5, "out_file": 5, "demo": 5, "doctor": 5, "batch": 5,
}  # fmt: skip
# The root package only loads public names lazily, so it may name any layer, and nobody imports it.
ROOT_MODULES = {"__init__", "__main__"}
# Their `__init__` holds nothing but the table of plugins and its look-up, so importing it is importing a module.
PLUGIN_TABLES = {"autosft.tasks", "autosft.trainers", "autosft.augment", "autosft.inputs"}
HEAVY = ("torch", "ray", "transformers", "pandas", "wandb", "datasets", "optuna", "sklearn")
# Reached by name only, where training is about to start, so these may import them at their top.
WORKER_SIDE = ("autosft.trainers.", "autosft.augment.", "autosft.search.runner")
MAX_DOCSTRING_LINES = 5

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in FILES}


def layer(module: str) -> int:
    top = module.split(".")[1]
    assert top in LAYERS, f"autosft.{top} stands in no layer: add it to LAYERS in {Path(__file__).name}"
    return LAYERS[top]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def import_nodes(tree: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    """Every import, those inside functions included, those under `if TYPE_CHECKING` not."""
    found: list[ast.Import | ast.ImportFrom] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Import | ast.ImportFrom):
            found.append(child)
        elif is_type_checking(child):
            assert isinstance(child, ast.If)
            found += [node for branch in child.orelse for node in import_nodes(branch)]
        else:
            found += import_nodes(child)
    return found


@functools.cache
def imported(module: str) -> frozenset[str]:
    """The modules of this package that a module imports: `from package import submodule` counts as the submodule."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in import_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            continue
        assert node.level == 0, f"{module}, line {node.lineno}: write the import of {node.module} absolutely"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            names.add(full if full in MODULES else str(node.module))
    return frozenset(name for name in names if name == "autosft" or name.startswith("autosft."))


ORDINARY = [module for module in MODULES if module != "autosft" and module.split(".")[1] not in ROOT_MODULES]


@pytest.mark.parametrize("module", ORDINARY)
def test_imports_go_downwards(module: str) -> None:
    own = layer(module)
    upwards = [name for name in imported(module) if name != "autosft" and layer(name) > own]
    assert not upwards, f"{module} (layer {own}) imports upwards: {upwards}"


@pytest.mark.parametrize("module", ORDINARY)
def test_imports_name_the_defining_module(module: str) -> None:
    packages = {name for name, file in MODULES.items() if file.name == "__init__.py"} - PLUGIN_TABLES
    assert not (imported(module) & packages), f"{module} imports a package's __init__; name the module that defines it"


def test_imports_have_no_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "imports go in a circle: " + " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for name in sorted(imported(module) & MODULES.keys()):
            visit(name, (*path, module))
        done.add(module)

    for module in ORDINARY:
        visit(module, ())


def test_imports_exist() -> None:
    missing = {module: sorted(imported(module) - MODULES.keys()) for module in MODULES}
    assert not {module: names for module, names in missing.items() if names}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_modules_are_introduced_in_a_few_lines(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if file.name == "__init__.py" and not text.strip():
        return
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, f"{file} has no docstring that says what lives there"
    assert len(docstring.splitlines()) <= MAX_DOCSTRING_LINES


@functools.cache
def heavy_at_import(module: str) -> frozenset[str]:
    """The heavy libraries that importing a module brings along, through the modules at its top as well."""
    names: set[str] = set()
    for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    inherited = [heavy_at_import(name) for name in names & MODULES.keys() - {module}]
    return frozenset({name.split(".")[0] for name in names} & set(HEAVY)).union(*inherited)


@pytest.mark.parametrize("module", [module for module in ORDINARY if not module.startswith(WORKER_SIDE)])
def test_heavy_libraries_are_imported_where_they_are_needed(module: str) -> None:
    assert not heavy_at_import(module), "import these inside the functions that need them"


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, time; start = time.process_time(); import autosft; seconds = time.process_time() - start\n"
        f"print(seconds, *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    seconds, *loaded = done.stdout.split()
    assert loaded == []
    assert float(seconds) < 0.3
