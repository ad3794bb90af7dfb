"""The laws of the house: who imports whom, what is loaded when, how long a file and a function may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("controller", "simulators", "instruments", "campaigns")
FILES = [ROOT / "__init__.py", *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py")))]

NOUNS = {
    "candidate_table", "check_space", "choices", "conditions", "conflicts", "cube", "declared_space", "described", "linear",
    "margins", "mixtures", "predicates", "programme", "projecting", "settings", "source_spec",
    "aim", "campaign", "campaign_file", "check", "check_goal", "check_stop", "designer", "diving", "errors", "explain", "expressions", "feasible", "goal", "intervals", "limits", "method", "parameters",
    "pareto", "plain_yaml", "preview", "reading", "records", "rules", "secret", "source", "source_contract", "space", "stop", "units", "warm_start",
}  # fmt: skip
MIND = {
    "admit", "amendment", "approving", "asking", "assimilation", "belief", "calibration", "costing", "decide", "design", "evolve", "lifecycle",
    "prospect", "reach", "recommending", "state", "stopping", "supervise", "switching",
}  # fmt: skip
ONLY = {  # library -> where it may be imported
    "torch": ("controller/belief/", "controller/design/"),
    "botorch": ("controller/belief/", "controller/design/"),
    "gpytorch": ("controller/belief/", "controller/design/"),
    "linear_operator": ("controller/belief/", "controller/design/"),
    "sqlmodel": ("controller/ledger/",),
    "sqlalchemy": ("controller/ledger/",),
    "sqlite3": ("controller/ledger/",),
    "ray": ("controller/actors/session.py",),
}


def imports(path: Path) -> set[str]:
    """Absolute dotted names of all that a file imports; relative ones as closedloop.…"""
    package = ["closedloop", *path.relative_to(ROOT).with_suffix("").parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{a.name}" for a in node.names}
    return found


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_libraries_stay_in_their_places(path: Path) -> None:
    for name in imports(path):
        allowed = ONLY.get(name.split(".")[0])
        assert allowed is None or place(path).startswith(allowed), f"{place(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_who_imports_whom(path: Path) -> None:
    if path == ROOT / "__init__.py":
        return
    where = path.relative_to(ROOT).parts
    inner = {tuple(n.split(".")[1:]) for n in imports(path) if n.startswith("closedloop.")}
    for name in inner:
        if where[0] == "controller":
            assert name[:1] not in (("instruments",), ("simulators",)), f"{place(path)} imports {name}"
            layer = where[1].removesuffix(".py")
            target = name[1] if len(name) > 1 and name[0] == "controller" else ""
            if layer in NOUNS:
                assert target in NOUNS | {""}, f"noun {place(path)} imports {target}"
            if layer in MIND:
                assert target in NOUNS | MIND | {""}, f"mind {place(path)} imports {target}"
        else:
            assert name[0] == where[0] or name[1:2] == () or name[1] in NOUNS, f"{place(path)} imports {name}"


def test_storage_knows_no_view() -> None:
    views = ("closedloop.controller.report", "closedloop.controller.cli")
    for path in sorted((ROOT / "controller" / "ledger").glob("*.py")):
        assert not [name for name in imports(path) if name.startswith(views)], place(path)


def test_no_import_circle() -> None:
    names = {
        ".".join(["closedloop", *p.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): p for p in FILES
    }
    top = {
        n: {m for m in top_level_imports(p) if m in names and m != n and not n.startswith(m + ".")}
        for n, p in names.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in top[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in names:
        visit(name, ())


def top_level_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    skipped = {
        id(n)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.If)
        for n in ast.walk(outer)
        if n is not outer
    }
    package = ["closedloop", *path.relative_to(ROOT).with_suffix("").parts]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in skipped and node.level:
            module = ".".join([*package[: len(package) - node.level], *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=place)
def test_sizes(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, f"{place(path)}:{node.lineno} {node.name}"


def test_no_code_at_the_root_but_the_public_names() -> None:
    assert [p.name for p in ROOT.glob("*.py")] == ["__init__.py"]
    assert not (ROOT / "tests" / "__init__.py").exists()


HEAVY = "torch ray botorch gpytorch sqlmodel sqlalchemy pandas matplotlib scipy pint".split()


@pytest.mark.parametrize(
    "statement",
    [
        "import closedloop",
        "from closedloop import Instrument, Simulator, instrument, simulator, Reading",
        "import closedloop.instruments.scpi",
        "import closedloop.controller.ledger.reader",
    ],
)
def test_light_imports_load_nothing_heavy(statement: str) -> None:
    """A fresh interpreter: writing a driver needs neither torch nor ray."""
    code = f"{statement}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_nouns_are_declared_without_torch_or_ray() -> None:
    code = (
        "import closedloop as cl, sys\n"
        "cl.Campaign(name='a', parameters={'x': {'low': 0, 'high': 1}}, responses=['y'],"
        " sources={'s': {'instrument': 'manual'}}, goal={'maximize': 'y'}, budget={'trials': 3})\n"
        "print([m for m in ('torch', 'ray', 'sqlmodel', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
