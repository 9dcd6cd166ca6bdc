#!/usr/bin/env python3
"""Run the tests in fresh environments: one leg for each choice of versions and interpreter.

    python3 tools/legs.py                       # the legs of `.ci/run`
    python3 tools/legs.py floor python3.13      # these alone
    python3 tools/legs.py litellm-minors        # by hand: each minor of LiteLLM that is declared

A leg runs what is committed, in a clone, with `../shared` beside it where the checkout has that.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = ("pytest", "-q", "-n", "auto", "--dist", "worksteal")
QUICK = ("tests/unit", "tests/contract", "tests/property")
THROUGH_LITELLM = ("tests/integration", "-m", "litellm")
# Their floors cannot stand beside the pages' tools: griffe and griffelib share one module.
WITHOUT_FRAMEWORKS = (
    "--ignore=tests/integration/test_adapters.py",
    "--ignore=tests/integration/test_gateway_responses_clients.py",
)


class NotFoundError(Exception):
    """This machine lacks what a leg needs."""


@dataclass(frozen=True)
class Checkout:
    """A clone of what is committed, and the uv that makes environments beside it."""

    clone: Path
    uv: Path
    environment: Path

    def dependencies(self) -> list[str]:
        """Every direct dependency, those of extras included."""
        text = (self.clone / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        return list(chain(project["dependencies"], *project["optional-dependencies"].values()))

    def install(self, python: str, *requirements: str) -> None:
        """Make the environment anew, on an interpreter and with these requirements."""
        self.run(str(self.uv), "venv", "-q", "--clear", "-p", python, str(self.environment))
        self.run(str(self.uv), "pip", "install", "-q", *requirements)

    def run(self, *command: str) -> None:
        """Run a command of the environment in the clone.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        print("$", *command, flush=True)
        path = f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environ = os.environ | {"PATH": path, "VIRTUAL_ENV": str(self.environment)}
        # The tests start hundreds of processes; without bytecode each compiles all that it imports.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run(command, cwd=self.clone, env=environ, check=True)


def newest(at: Checkout) -> None:
    """The README's commands as printed: what pip chooses today, the demo, the whole suite."""
    readme = (at.clone / "README.md").read_text(encoding="utf-8")
    demo, suite = re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)
    at.run("bash", "-c", demo)
    everything = ".venv/bin/pip install --quiet '.[all-tests,frameworks]'"  # else some tests skip
    at.run("bash", "-c", everything)
    at.run("bash", "-c", suite)
    at.run(".venv/bin/python", "-m", "benchmarks", "--quick", "lanes")  # ratios, told


def floor(at: Checkout) -> None:
    """Every direct dependency at its declared floor: quick tests, all that touches LiteLLM."""
    floors = at.environment.with_suffix(".txt")
    floors.write_text("\n".join(f"{name}=={version}" for name, version in _floors(at)))
    lowest = ("--resolution", "lowest-direct", "--constraint", str(floors))
    at.install(_interpreter("3.11"), *lowest, ".[all-tests]")
    at.run("orchestify", "demo")
    at.run(*PYTEST, *QUICK)
    at.run(*PYTEST, *THROUGH_LITELLM, *WITHOUT_FRAMEWORKS)


def python(version: str) -> Callable[[Checkout], None]:
    """Another interpreter, where there is one: the demo and the quick tests."""

    def leg(at: Checkout) -> None:
        at.install(_interpreter(version), ".[all-tests]")
        at.run("orchestify", "demo")
        at.run(*PYTEST, *QUICK)

    return leg


def litellm_minors(at: Checkout) -> None:
    """The newest release of each of LiteLLM's minors in the range: all that touches LiteLLM."""
    failed = []
    for minor in _minors(at):
        at.install(_interpreter("3.11"), ".[all-tests]", f"litellm=={minor}.*")
        try:
            at.run("orchestify", "demo")
            at.run(*PYTEST, "tests/unit/lanes", "tests/contract")
            at.run(*PYTEST, *THROUGH_LITELLM, *WITHOUT_FRAMEWORKS)
        except subprocess.CalledProcessError:
            failed.append(minor)
    if failed:
        raise SystemExit(f"litellm {', '.join(failed)} failed")


def lint(at: Checkout) -> None:
    """Format, style, types, and the direction of imports."""
    at.install(sys.executable, ".[dev]")
    at.run("ruff", "check", ".")
    at.run("ruff", "format", "--check", ".")
    at.run("mypy")
    at.run("pytest", "-q", "tests/unit/test_layering.py")


OF_CI: dict[str, Callable[[Checkout], None]] = {
    "lint": lint,
    "floor": floor,
    "python3.12": python("3.12"),
    "python3.13": python("3.13"),
    "newest": newest,
}
LEGS = OF_CI | {"litellm-minors": litellm_minors}


def main(names: list[str]) -> int:
    """Run legs one after the other and say how each ended; the exit code is 1 where one failed."""
    if unknown := [name for name in names if name not in LEGS]:
        print(f"no leg is called {unknown[0]!r}; there are: {', '.join(LEGS)}", file=sys.stderr)
        return 2
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        at = _checkout(Path(folder))
        for name in names or OF_CI:
            print(f"\n== {name}", flush=True)
            began = time.monotonic()
            ending = _ending(LEGS[name], replace(at, environment=Path(folder) / name))
            lines.append(f"{name:15} {ending:8} {time.monotonic() - began:6.0f} s")
    print("", *lines, sep="\n", flush=True)
    return int(any(" failed " in line for line in lines))


def _ending(leg: Callable[[Checkout], None], at: Checkout) -> str:
    try:
        leg(at)
    except NotFoundError as error:
        print(error)
        return "skipped"
    except (subprocess.CalledProcessError, SystemExit) as error:
        print(error)
        return "failed"
    return "passed"


def _checkout(folder: Path) -> Checkout:
    """Clone the checkout and install uv, in a folder."""
    at = Checkout(folder / "orchestify", folder / "uv" / "bin" / "uv", folder / "environment")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(at.clone)], check=True)
    if (shared := ROOT.parent / "shared").is_dir():
        (folder / "shared").symlink_to(shared)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "uv")], check=True)
    subprocess.run([str(at.uv.with_name("pip")), "install", "-q", "uv"], check=True)
    return at


def _floors(at: Checkout) -> Iterator[tuple[str, str]]:
    """The name and the lowest declared version of each direct dependency."""
    for requirement in at.dependencies():
        if found := re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)", requirement):
            yield found[1], found[2]


def _minors(at: Checkout) -> list[str]:
    """LiteLLM's minors from the floor to the ceiling, without those that are excluded whole."""
    (declared,) = (each for each in at.dependencies() if each.startswith("litellm"))
    (low,), (end,) = (re.findall(rf"{sign}1\.(\d+)", declared) for sign in (">=", "<"))
    excluded = re.findall(r"!=1\.(\d+)\.\*", declared)
    return [f"1.{each}" for each in range(int(low), int(end)) if str(each) not in excluded]


def _interpreter(version: str) -> str:
    """The path of a Python of this minor version, of the system's or of pyenv's.

    Raises:
        NotFoundError: none was found.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python{version}")]
    for path in map(str, filter(None, found)):
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    raise NotFoundError(f"no Python {version} was found")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
