from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import orchestify
from orchestify import errors, providers

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", orchestify.__all__)
def test_a_public_name_resolves_and_is_listed(name: str) -> None:
    assert getattr(orchestify, name) is not None
    assert name in dir(orchestify)


@pytest.mark.parametrize("name", providers.__all__)
def test_so_does_one_of_the_providers(name: str) -> None:
    assert getattr(providers, name) is not None
    assert name in dir(providers)


def test_none_is_lost_and_each_stands_once() -> None:
    assert (len(set(orchestify.__all__)), len(set(providers.__all__))) == (106, 13)


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert orchestify.__version__ == project["version"]


def test_every_error_is_public() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.OrchestifyError)
    }
    assert defined - set(orchestify.__all__) == set()


def test_a_star_import_takes_the_public_names() -> None:
    taken: dict[str, object] = {}
    exec("from orchestify.providers import *", taken)  # noqa: S102 - at module level only
    assert taken["MockProvider"] is providers.MockProvider


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'orchestify' has no attribute 'Manager'"):
        orchestify.Manager  # type: ignore[attr-defined]  # noqa: B018 - the access is tested


def test_importing_orchestify_imports_nothing_slow() -> None:
    code = (
        "import sys, orchestify; "
        "print([name for name in ('litellm', 'aiohttp', 'pydantic', 'yaml', 'sqlalchemy', 'rich', "
        "'click', 'importlib.metadata') if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
