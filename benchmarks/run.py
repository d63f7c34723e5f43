"""Measure this package beside dask.distributed in one interleaved run (``make bench``).

Cell by cell, round by round, each side runs in a script of its own under the Python of its own virtual environment:
both packages are called `distributed`. Exit code 1: a target was missed or a cell gave no result.
"""

from __future__ import annotations

import argparse
import fnmatch
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from catalogue import CELLS, Cell
from processes import HERE, CellError, Runner
from report import Row, machine, table, write_json

RIVAL_VENV = HERE.parent / "build" / "venv-rival"
RIVAL_PACKAGES = ("distributed>=2026", "numpy")


def main() -> int:
    """Run what the command line asks for; the exit code."""
    options = _options()
    signal.signal(signal.SIGTERM, _stop)
    # The interpreters' paths stay as they are: resolving a venv's link would leave the venv.
    pythons = {"ours": Path(options.ours_python).absolute(), "rival": _rival_python(options.rival_python)}
    box_s = 2.0 if options.quick else 10.0
    rows = [Row(cell) for cell in options.cells]
    began = datetime.now().astimezone()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        runner = Runner(pythons, Path(folder))
        try:
            about: dict[str, Any] = {
                "date": began.isoformat(timespec="seconds"),
                "command": sys.argv,
                "machine": machine(),
                "versions": {side: runner.run(side, "versions", 60.0) for side in options.sides},
            }
            _rounds(runner, rows, options, box_s)
        except CellError as error:
            print(f"a side does not even start: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
            return 130
        finally:
            runner.sweep()
    name = began.strftime("%Y-%m-%d-%H%M") + ("-quick" if options.quick else "") + ".json"
    output = Path(options.output) if options.output else HERE / "results" / name
    write_json(output, rows, {**about, "left_behind": runner.left_behind})
    print(f"\n{table(rows)}\n\n{_versions(about['versions'])}\n{output}")
    for command in runner.left_behind:
        print(f"outlived its script and was killed: {command}")
    return 1 if any(row.verdict() in ("MISS", "FAIL") for row in rows) or runner.left_behind else 0


def _rounds(runner: Runner, rows: list[Row], options: argparse.Namespace, box_s: float) -> None:
    """Fill the rows: ours, rival, ours, rival, ..., so that both see the same hours of the machine."""
    arguments = ["--box", str(box_s), *(["--quick"] if options.quick else [])]
    for row in rows:
        rounds = options.rounds if options.quick else max(options.rounds, row.cell.rounds_min)
        for number in range(rounds):
            for side in options.sides:
                _say(f"{row.cell.name} {number + 1}/{rounds} {side}")
                psutil.cpu_percent()
                time.sleep(0.3)
                background = psutil.cpu_percent() / 100
                began = time.monotonic()
                try:
                    script, more = _script(row.cell, side)
                    sample = runner.run(script, row.cell.name, row.cell.limit_s, *arguments, *more)
                except CellError as error:
                    row.errors.append(f"{side}, round {number + 1}: {error}")
                    continue
                sample |= {"background": background, "took_s": round(time.monotonic() - began, 2)}
                getattr(row, side).append(sample)
                _say(f"{row.cell.name} {number + 1}/{rounds} {side}: {sample['value']:,.6g} {row.cell.unit}", end="\n")
            if row.errors:
                _say(f"{row.cell.name}: {row.errors[-1].splitlines()[0]}", end="\n")
                break


def _script(cell: Cell, side: str) -> tuple[str, list[str]]:
    """The worker script that measures `side`, and its options."""
    if cell.beside == "rival":
        return side, []
    if cell.beside == "plain":
        return "ours", ["--tls"] * (side == "ours")
    return "ours", ["--beside"] * (side == "rival")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure this package beside dask.distributed.")
    parser.add_argument("--only", metavar="CELL,...", default="*", help="names or patterns; see --list")
    parser.add_argument("--rounds", type=int, default=3, help="per cell and side (default 3; cheap cells do more)")
    parser.add_argument(
        "--quick", action="store_true", help="one round, 2 s a cell: to see that all works, not for figures"
    )
    parser.add_argument("--output", metavar="FILE", help="default: benchmarks/results/<date>.json")
    parser.add_argument("--side", choices=("ours", "rival"), help="one side alone: no ratios, no verdict")
    parser.add_argument("--ours-python", default=sys.executable, help="an interpreter that has this package and numpy")
    parser.add_argument("--rival-python", help=f"one that has the rival and numpy (default: made in {RIVAL_VENV.name})")
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{cell.name:<20} {cell.what.strip()}" for cell in CELLS))
        sys.exit(0)
    if options.quick:
        options.rounds = 1
    options.sides = (options.side,) if options.side else ("ours", "rival")
    options.cells = _chosen(options.only.split(","), parser)
    return options


def _chosen(patterns: list[str], parser: argparse.ArgumentParser) -> list[Cell]:
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(cell.name, pattern) for cell in CELLS):
            parser.error(f"no cell is called {pattern!r}; there are: {', '.join(cell.name for cell in CELLS)}")
    return [cell for cell in CELLS if any(fnmatch.fnmatchcase(cell.name, pattern) for pattern in patterns)]


def _rival_python(given: str | None) -> Path:
    """The interpreter of the rival's virtual environment, which is made if it is not there."""
    if given:
        return Path(given).absolute()
    python = RIVAL_VENV / "bin" / "python"
    stamp = RIVAL_VENV / ".installed"
    if not stamp.exists():  # or half made by a run that was stopped
        print(f"installing the rival into {RIVAL_VENV}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(RIVAL_VENV)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *RIVAL_PACKAGES], check=True)
        stamp.touch()
    return python


def _versions(versions: dict[str, dict[str, Any]]) -> str:
    return "\n".join(f"{side}: {', '.join(f'{k} {v}' for k, v in found.items())}" for side, found in versions.items())


def _say(text: str, end: str = "") -> None:
    """Progress; on a terminal the line is written over until its result is there."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end=end, flush=True, file=sys.stderr)
    elif end:
        print(text, flush=True, file=sys.stderr)


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
