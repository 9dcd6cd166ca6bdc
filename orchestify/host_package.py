"""A host whose own package is named `orchestify`, too: its modules beside ours, under one name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path


def with_hosts_folders(package: str, own: Iterable[str]) -> list[str]:
    """Return a package's `__path__` with the folders of hosts' packages of the same name behind it.

    Such a host's `__init__.py` extends its `__path__` itself (`pkgutil.extend_path`), so that
    either of the two may come first on `sys.path`; a folder that does not is none of ours.
    """
    parent, _, name = package.rpartition(".")
    places = sys.modules[parent].__path__ if parent else sys.path
    folders = list(own)
    for place in places:
        folder = Path(place, name)
        if str(folder) not in folders and _extends_its_path(folder / "__init__.py"):
            folders.append(str(folder))
    return folders


def _extends_its_path(module: Path) -> bool:
    try:
        return "extend_path" in module.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
