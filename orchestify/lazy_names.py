"""The public names of a package, each imported when it is first used (PEP 562).

They stand once, as imports under `if TYPE_CHECKING`, where type checkers and editors see them;
what is needed to import them later is read off the compiled imports.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from importlib import import_module
from types import CodeType
from typing import Any


def lazy_names(
    package: str, **made: Callable[[], Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the `__getattr__`, `__dir__` and `__all__` of the package that calls this.

    `made` holds further names, each with what makes its value.
    """
    caller = sys._getframe(1)
    everything = caller.f_globals
    homes = {name: at for name, at in _homes(caller.f_code).items() if name not in everything}
    names = sorted((*homes, *made))

    def get(name: str) -> Any:
        if name in made:
            return made[name]()
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return get, lambda: sorted({*everything, *names}), names


def _homes(code: CodeType) -> dict[str, str]:
    """The names that a module imports from modules of ours, used or not, with their modules."""
    homes: dict[str, str] = {}
    module = ""
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            module = step.argval
        elif step.opname == "IMPORT_FROM":
            homes[step.argval] = module
    return {name: home for name, home in homes.items() if home.startswith("orchestify.")}
