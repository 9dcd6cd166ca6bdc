"""Imports point down only: the layers, from the top, as the import statements draw them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "orchestify"

LAYERS = [
    ["__main__"],
    ["cli"],
    ["adapters"],
    ["server.running", "server.startup_summary"],
    ["server.connections"],
    ["server.app"],
    ["server.middleware", "server.logs"],
    ["server.api"],
    ["server.gateway"],
    ["server.service"],
    ["server.tenants", "server.access", "server.conversations", "server.live"],
    ["server.storage"],
    ["server.rows"],
    ["server", "server.settings"],
    ["report"],
    ["metrics", "telemetry"],
    ["providers"],
    ["tools", "batches"],
    ["calls"],
    ["response_cache"],
    ["health"],
    ["ledger"],
    ["models"],
    ["testing.recordings"],
    ["lanes"],
    ["shared_limits"],
    ["core"],
    ["policy"],
    ["vault"],
    ["testing"],
    ["database"],
    ["events"],
    ["resources"],
    ["values"],
    ["errors"],
    ["lazy_names", "host_package", "version"],
]
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
LAZY = {"", "providers", "report", "testing"}  # the public names, which import when a name is used


def test_every_module_has_its_layer() -> None:
    assert [name for name in _modules() if name not in LAZY and _layer(name) is None] == []


def test_imports_point_down() -> None:
    assert list(_arrows_up()) == []


def test_a_room_is_entered_through_the_modules_its_docstring_names() -> None:
    assert list(_unoffered_imports()) == []


def test_only_its_lane_imports_litellm() -> None:
    importers = [name for name, path in _modules().items() if "litellm" in set(_top_level(path))]
    assert importers == ["lanes.litellm.clients", "lanes.litellm.loading"]


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def _layer(name: str) -> int | None:
    """The level of a module, or of the package it is in."""
    while name and name not in LEVEL:
        name = name.rpartition(".")[0]
    return LEVEL.get(name)


def _group(name: str) -> str:
    while name and name not in LEVEL:
        name = name.rpartition(".")[0]
    return name


def _arrows_up() -> Iterator[str]:
    modules = _modules()
    for name, path in modules.items():
        if name in LAZY:
            continue
        for imported in _imports(path):
            target = imported if imported in modules else imported.rpartition(".")[0]
            if target in LAZY or _group(target) == _group(name):
                continue
            here, there = _layer(name), _layer(target)
            if here is None or there is None or there <= here:
                yield f"{name} -> {target}"


def _unoffered_imports() -> Iterator[str]:
    """The imports of modules that their package's docstring does not offer to other rooms."""
    modules = _modules()
    offered = {name: _offered(path) for name, path in modules.items() if path.stem == "__init__"}
    for name, path in modules.items():
        for imported in _imports(path):
            target = imported if imported in modules else imported.rpartition(".")[0]
            room, _, module = target.partition(".")
            names = offered.get(room) if name.partition(".")[0] != room else None
            if names is not None and module and module.partition(".")[0] not in names:
                yield f"{name} -> {target}"


def _offered(path: Path) -> set[str] | None:
    """The modules in `Other rooms import from: a, b.`, None where a package does not say."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    _, said, names = text.partition("Other rooms import from: ")
    return {name.strip() for name in names.removesuffix(".").split(",")} if said else None


def _imports(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orchestify"):
            base = (node.module or "").removeprefix("orchestify").removeprefix(".")
            for alias in node.names:
                yield f"{base}.{alias.name}".removeprefix(".")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("orchestify."):
                    yield alias.name.removeprefix("orchestify.")


def _top_level(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
