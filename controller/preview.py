"""What a module would bind a name to, seen in its text: nothing of it is run.

Importing a module runs its code, so a campaign may only name one that can be seen to hold a source: a class whose
bases, or a function whose decorators, lead to closedloop.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

OURS = "closedloop"
MAX_STEPS = 30  # modules that a name is followed through

Bindings = dict[str, list[ast.AST]]


def leads_to_source(module: str, name: str, _seen: frozenset[tuple[str, str]] = frozenset()) -> bool:
    """Whether the text of a module shows that ``name`` comes of closedloop's classes or decorators."""
    top = module.partition(".")[0]
    if top == OURS:
        return True
    if (module, name) in _seen or len(_seen) >= MAX_STEPS or top in sys.stdlib_module_names:
        return False
    file = file_of(module)
    if file is None:
        return False
    bindings, seen = _bindings(file), _seen | {(module, name)}
    if any(_of_node(node, file, module, name, seen) for node in bindings.get(name, ())):
        return True
    stars = [_base(node, file, module) for node in bindings.get("*", ()) if isinstance(node, ast.ImportFrom)]
    return any(leads_to_source(base, name, seen) for base in stars)


def file_of(module: str) -> Path | None:
    """The text of a module, found without importing even its packages; None where there is none."""
    top, *rest = module.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return None
    finders = (f.find_spec for f in sys.meta_path if hasattr(f, "find_spec"))
    spec = next((s for find in finders if (s := find(top, None)) is not None), None)
    if spec is None:
        return None
    file = Path(spec.origin) if spec.origin else None
    places = [Path(p) for p in spec.submodule_search_locations or ()]
    for part in rest:
        texts = [t for p in places for t in (p / part / "__init__.py", p / f"{part}.py") if t.is_file()]
        file = texts[0] if texts else None
        places = [p / part for p in places if (p / part).is_dir()]
    return file if file is not None and file.suffix == ".py" and file.is_file() else None


def _bindings(file: Path) -> Bindings:
    """What each name of the module is bound by; ``*`` holds the star imports."""
    found: Bindings = defaultdict(list)
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return found
    for node in _top_level(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef():
                found[node.name].append(node)
            case ast.Assign():
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found[target.id].append(node)
            case ast.AnnAssign(target=ast.Name(id=name)) if node.value is not None:
                found[name].append(node)
            case ast.Import():
                for alias in node.names:
                    found[alias.asname or alias.name.partition(".")[0]].append(node)
            case ast.ImportFrom():
                for alias in node.names:
                    found[alias.asname or alias.name].append(node)
    return found


def _top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """The statements that run at import, those in ``if`` and ``try`` too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt | ast.excepthandler):
            yield node
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _top_level(node)


def _of_node(node: ast.AST, file: Path, module: str, name: str, seen: frozenset[tuple[str, str]]) -> bool:
    match node:
        case ast.ClassDef():
            made_of = [*node.bases, *node.decorator_list]
        case ast.FunctionDef():
            made_of = list(node.decorator_list)
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            made_of = [value]
        case _:
            return any(leads_to_source(*where, seen) for where in _imported(node, file, module, name))
    return any(_follow(dotted, file, module, seen) for part in made_of for dotted in _dotted(part))


def _follow(dotted: str, file: Path, module: str, seen: frozenset[tuple[str, str]]) -> bool:
    """Whether ``cl.Instrument``, written in this module, leads to closedloop."""
    root, _, rest = dotted.partition(".")
    nodes = _bindings(file).get(root, ())
    imports = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    places = [w for n in imports for w in _imported(n, file, module, root, rest)]
    is_local = len(imports) < len(nodes) or not nodes
    return any(leads_to_source(*w, seen) for w in places) or (is_local and leads_to_source(module, root, seen))


def _imported(node: ast.AST, file: Path, module: str, name: str, rest: str = "") -> Iterator[tuple[str, str]]:
    """The module and the name there that an import binds ``name`` (with ``.rest`` after it) to."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) == name:
                real = f"{alias.name if alias.asname else name}.{rest}"
                yield (real.rpartition(".")[0], real.rpartition(".")[2])
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                real = ".".join(filter(None, [_base(node, file, module), alias.name, rest]))
                yield (real.rpartition(".")[0], real.rpartition(".")[2])


def _base(node: ast.ImportFrom, file: Path, module: str) -> str:
    """The absolute name of the module that is imported from."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    upwards = package[: len(package) - node.level + 1]
    return ".".join([*upwards, *([node.module] if node.module else [])])


def _dotted(tree: ast.AST) -> Iterator[str]:
    """Each ``a.b.c`` of an expression."""
    match tree:
        case ast.Name():
            yield tree.id
        case ast.Attribute():
            for inner in _dotted(tree.value):
                yield f"{inner}.{tree.attr}"
        case _:
            for child in ast.iter_child_nodes(tree):
                yield from _dotted(child)
