"""Runs benchmarks, each in a process of its own, one after the other.

    python -m benchmarks --list
    python -m benchmarks --quick                          all of them, short, to see that they run
    python -m benchmarks lanes --rounds 3 --json found.json --markdown found.md --chart found.svg

Nothing outside is written to unless it is given: a scratch database, a Redis. What a benchmark
lacks here is told, and the others go on. The exit code is 1 where one failed.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.chart import draw
from benchmarks.results import Result, as_document, as_markdown, machine, show, told_machine
from benchmarks.settings import LackingError, Settings

HERE = Path(__file__).parent
NAMES = (
    "lanes",
    "compared",
    "gateway",
    "ledger",
    "budget_router",
    "run_budgets",
    "reload",
    "batch_run",
    "shared_limits",
    "response_cache",
    "forecast",
)
LONGEST_S, LONGEST_QUICK_S = 3600, 600  # of one benchmark; then it has failed


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line names, all where it names none; return the exit code."""
    options = parser().parse_args(arguments)
    if options.list:
        for name in NAMES:
            print(f"{name:15} {_first_line(name)}")
        return 0
    if unknown := [name for name in options.names if name not in NAMES]:
        print(
            f"no benchmark is called {unknown[0]!r}; there are: {', '.join(NAMES)}", file=sys.stderr
        )
        return 2
    settings = Settings(**{each.name: getattr(options, each.name) for each in fields(Settings)})
    here = machine()
    if not options.in_process:
        print(*told_machine(here), sep="\n", flush=True)
    run = run_here if options.in_process else run_apart
    results = [run(name, settings) for name in options.names or NAMES]
    write(results, here, options)
    return 1 if any(each.outcome == "failed" for each in results) else 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("names", nargs="*", metavar="NAME", help="all where none is given")
    made.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    made.add_argument("--quick", action="store_true", help="short: it shows that they run")
    made.add_argument("--rounds", type=int, help="of what is measured in rounds")
    made.add_argument("--json", type=Path, metavar="FILE", help="where to write all as JSON")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="and as a page of tables")
    made.add_argument("--chart", type=Path, metavar="FILE", help="and ratios as bars, in SVG")
    made.add_argument("--postgres", metavar="URL", help="a scratch database: it is written to")
    made.add_argument("--redis", metavar="URL", help="an empty one: it is written to")
    made.add_argument("--litellm-proxy", metavar="COMMAND", help="of an environment of its own")
    made.add_argument("--portkey", metavar="COMMAND", help="its gateway's, installed by npm")
    made.add_argument(
        "--in-process", action="store_true", help="in this process: for a debugger, a profiler"
    )
    return made


def run_here(name: str, settings: Settings) -> Result:
    """Run a benchmark in this process and print what it finds, each table as it is there."""
    result = Result(name)
    try:
        for table in importlib.import_module(f"benchmarks.{name}").measure(settings):
            result.tables.append(table)
            show(table)
    except LackingError as error:
        result.end("lacking", str(error))
    except ImportError as error:
        if (error.name or "").partition(".")[0] in ("orchestify", "benchmarks"):
            raise
        result.end("lacking", f"{error.name} is not installed")
    except Exception as error:
        traceback.print_exc()
        result.end("failed", f"{type(error).__name__}: {error}")
    return result


def run_apart(name: str, settings: Settings) -> Result:
    """Run a benchmark in a process of its own, which prints what it finds."""
    print(f"\n== {name}: {_first_line(name)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [sys.executable, "-m", "benchmarks", name, "--in-process", "--json", str(found)]
        with subprocess.Popen([*command, *_options(settings)], cwd=HERE.parent) as process:
            try:
                process.wait(settings.sized(LONGEST_S, LONGEST_QUICK_S))
            except subprocess.TimeoutExpired:
                process.terminate()  # it ends what it has started
                process.wait()
        if found.exists():
            return Result.read(json.loads(found.read_text(encoding="utf-8"))["benchmarks"][0])
    result = Result(name)
    result.end("failed", f"exit code {process.returncode}")
    return result


def write(results: list[Result], here: dict[str, Any], options: argparse.Namespace) -> None:
    """Write the files that are asked for."""
    if options.json:
        document = as_document(results, here, is_quick=options.quick)
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(as_markdown(results, here), encoding="utf-8")
    if options.chart:
        tables = [table for result in results for table in result.tables if table.chart]
        options.chart.write_text(draw(tables, _note(here, options)), encoding="utf-8")


def _note(here: dict[str, Any], options: argparse.Namespace) -> str:
    kind = "a quick run" if options.quick else "one run"
    return f"{kind}, Python {here['python']}, {here['cpus']} processors, load {here['load']} before"


def _options(settings: Settings) -> list[str]:
    """Return a command line's options that make the same settings."""
    given = {f"--{name.replace('_', '-')}": value for name, value in asdict(settings).items()}
    pairs = [
        [name] if value is True else [name, str(value)] for name, value in given.items() if value
    ]
    return [word for pair in pairs for word in pair]


def _first_line(name: str) -> str:
    text = (HERE / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
