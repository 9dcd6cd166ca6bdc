"""`python -m benchmarks`: that it runs and how it says what it found; no figure is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.pages import ROOT

RATIO = "/ raw aiohttp"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the project's own
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def found(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_the_lanes_run_short_and_are_told_as_tables_with_ratios(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("found.json", "found.md", "found.svg")]
    json_file, page, chart = (str(each) for each in files)
    written = ("--json", json_file, "--markdown", page, "--chart", chart)
    done = run("lanes", "--quick", *written)
    assert done.returncode == 0, done.stderr
    document = found(files[0])
    assert document["quick"] is True
    assert {"python", "system", "cpu", "cpus", "load", "versions"} == document["machine"].keys()
    assert document["machine"]["versions"]["aiohttp"] is not None
    (result,) = document["benchmarks"]
    assert (result["name"], result["outcome"], result["why"]) == ("lanes", "ok", "")
    ratios = [each for each in result["tables"] if RATIO in str(each["rows"])]
    assert len(ratios) == 6
    for table in ratios:
        assert table["rows"]["raw aiohttp"][RATIO] == 1.0
        assert table["rows"]["orchestify openai"].keys() >= {table["unit"], RATIO}
        assert all(row[RATIO] > 0 for row in table["rows"].values())
        assert table["title"] in done.stdout
        assert f"{table['title']} ({table['unit']}):" in files[1].read_text()
    charted = [each for each in ratios if each["chart"]]
    bars = ElementTree.parse(files[2]).findall("{http://www.w3.org/2000/svg}rect")  # noqa: S314 - ours
    assert len(bars) == sum(len(each["rows"]) for each in charted) > 10


def test_one_that_lacks_or_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    names = ("shared_limits", "run_budgets", "reload")
    done = run(*names, "--quick", f"--json={file}", "--postgres=no database's address")
    assert done.returncode == 1
    results = found(file)["benchmarks"]
    assert [each["name"] for each in results] == list(names)
    assert [each["outcome"] for each in results] == ["lacking", "failed", "ok"]
    assert "--redis" in results[0]["why"]
    assert results[2]["tables"][0]["rows"]["0 changed"]["agents kept"] == 500


def test_where_nothing_fails_what_is_lacking_is_no_failure() -> None:
    done = run("shared_limits", "--quick")
    assert (done.returncode, done.stderr.count("shared_limits left out: ")) == (0, 1)


def test_a_name_that_is_none_is_refused() -> None:
    done = run("lane")
    assert done.returncode == 2
    assert "no benchmark is called 'lane'; there are: lanes, compared, " in done.stderr


def test_every_benchmark_is_listed() -> None:
    listed = [line.split()[0] for line in run("--list").stdout.splitlines()]
    modules = (ROOT / "benchmarks").glob("*.py")
    assert sorted(listed) == sorted(
        path.stem for path in modules if "\ndef measure(" in path.read_text()
    )
