"""Writes docs/map.md: every room of the package, and the first line of each of its modules.

python tools/module_map.py            writes the page
python tools/module_map.py --check    says whether it is current, by its exit code
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "orchestify"
PAGE = ROOT / "docs" / "map.md"

# From the top; imports point down only, see tests/unit/test_layering.py.
ROOMS = (
    *(
        "cli",
        "adapters",
        "server",
        "report",
        "metrics",
        "telemetry",
        "providers",
        "tools",
        "batches",
        "calls",
        "response_cache",
        "health",
    ),
    *("ledger", "models", "lanes", "shared_limits", "core", "policy", "vault", "testing"),
    *("database", "events", "resources"),
)
HEAD = """\
# The map

<!-- written by tools/module_map.py from the modules' first lines; change those, then run it -->

The rooms of the package from the top; imports point down only. At the bottom stand `values.py`,
what goes down the call path and comes back, and `errors.py`, everything that is raised. Each room's
`__init__.py` says which module to read first and which ones other rooms may import from.
"""


def page() -> str:
    """Return the page's text."""
    return "\n".join([HEAD, *(line for room in ROOMS for line in _room(PACKAGE / room))]) + "\n"


def _room(folder: Path) -> Iterator[str]:
    """The heading of a room, what it is for, and a row for each module below it."""
    yield f"## {folder.relative_to(PACKAGE)}/\n"
    yield f"{_first_line(folder / '__init__.py')}\n"
    yield "| module | what is there |\n| --- | --- |"
    for path in sorted(folder.rglob("*.py")):
        if path.parent == folder and path.name == "__init__.py":
            continue
        if "versions" not in path.parts:
            name = path.relative_to(folder)
            shown = name.parent if path.name == "__init__.py" else name
            yield f"| `{shown}{'/' * (path.name == '__init__.py')}` | {_first_line(path)} |"
    yield ""


def _first_line(path: Path) -> str:
    documented = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return documented.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def main() -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
