"""What benchmarks find: tables with ratios, printed, as JSON and as Markdown."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Printed

Cell = float | int | str
PACKAGES = (
    "orchestify",
    "aiohttp",
    "litellm",
    "any-llm-sdk",
    "openai",
    "anthropic",
    "pydantic-ai-slim",
    "liter-llm",
    "sqlalchemy",
    "redis",
)


@dataclass(frozen=True)
class Table:
    """Figures by row and column; `unit` is that of every column whose name tells no other.

    `chart` names the column that is drawn where a chart is asked for; notes qualify the figures.
    """

    title: str
    unit: str
    rows: dict[str, dict[str, Cell]]
    notes: tuple[str, ...] = ()
    chart: str = ""

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in order."""
        return list(dict.fromkeys(column for row in self.rows.values() for column in row))

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def printed(self) -> Iterable[list[str]]:
        """Each row as text: its name and its cells."""
        for name, row in self.rows.items():
            yield [name, *(_shown(row.get(column, "")) for column in self.columns)]


def with_ratios(
    title: str,
    unit: str,
    found: dict[str, float],
    floors: Iterable[str],
    *,
    is_charted: bool = False,
) -> Table:
    """Return a table of one figure a row and its ratio to each of the rows named in `floors`."""
    there = [floor for floor in floors if floor in found]
    rows: dict[str, dict[str, Cell]] = {
        name: {unit: value, **{f"/ {floor}": value / found[floor] for floor in there}}
        for name, value in found.items()
    }
    return Table(title, unit, rows, chart=f"/ {there[0]}" if there and is_charted else "")


@dataclass
class Result:
    """How one benchmark ended: `outcome` is ok, lacking or failed; `why` says the latter two."""

    name: str
    outcome: str = "ok"
    why: str = ""
    tables: list[Table] = field(default_factory=list)

    def end(self, outcome: str, why: str) -> None:
        """Note that it ended before its end, and say so on standard error."""
        self.outcome, self.why = outcome, why
        print(self.told, file=sys.stderr, flush=True)

    @property
    def told(self) -> str:
        """How it ended, as a sentence."""
        ends = {"lacking": "left out", "failed": "failed"}
        return f"{self.name} {ends[self.outcome]}: {self.why}"

    @classmethod
    def read(cls, document: dict[str, Any]) -> Result:
        """Return what `asdict` has made a document of."""
        tables = [Table(**{**each, "notes": tuple(each["notes"])}) for each in document["tables"]]
        return cls(document["name"], document["outcome"], document["why"], tables)


def machine() -> dict[str, Any]:
    """Return what the figures depend on: interpreter, system, processors, load, versions."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def as_document(results: list[Result], here: dict[str, Any], *, is_quick: bool) -> dict[str, Any]:
    """Return everything as JSON's types."""
    return {
        "machine": here,
        "quick": is_quick,
        "benchmarks": [asdict(each) for each in results],
    }


def told_machine(here: dict[str, Any]) -> list[str]:
    """Return the machine and the versions as two lines of text."""
    versions = [f"{name} {told or 'absent'}" for name, told in here["versions"].items()]
    return [
        f"Python {here['python']}, {here['system']}, {here['cpus']} x {here['cpu']}, "
        f"load {here['load']} at the start",
        ", ".join(versions),
    ]


def show(table: Table) -> None:
    """Print a table and its notes."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    printed = Printed("", title=table.heading, title_justify="left")
    for column in table.columns:
        printed.add_column(column, justify="right", overflow="fold")
    for row in table.printed():
        printed.add_row(*row)
    console.print(printed, *table.notes, sep="\n", markup=False, highlight=False)


def as_markdown(results: list[Result], here: dict[str, Any]) -> str:
    """Return a page: the machine, then each benchmark's tables."""
    lines = ["# Results", "", *told_machine(here)]
    for result in results:
        lines += ["", f"## {result.name}"]
        for table in result.tables:
            lines += ["", f"{table.heading}:", "", *_grid(table), *(f"\n{n}" for n in table.notes)]
        if result.outcome != "ok":
            lines += ["", result.told]
    return "\n".join(lines) + "\n"


def _grid(table: Table) -> list[str]:
    head = [["", *table.columns], ["---", *("---:" for _ in table.columns)]]
    return [f"| {' | '.join(row)} |" for row in (*head, *table.printed())]


def _shown(cell: Cell) -> str:
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else cell
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
