"""The table for people, and the JSON for the record."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from catalogue import Cell

__all__ = ["Row", "machine", "table", "write_json"]


@dataclass(slots=True)
class Row:
    """What the rounds of one cell gave; entry i of `ours` and `rival` come from round i."""

    cell: Cell
    ours: list[dict[str, Any]] = field(default_factory=list)
    rival: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def values(self, side: str) -> list[float]:
        """One per round."""
        return [sample["value"] for sample in getattr(self, side)]

    def ratios(self) -> list[float]:
        """One per round in which both sides gave a result."""
        return [
            self.cell.ratio(a, b) for a, b in zip(self.values("ours"), self.values("rival"), strict=False) if a > 0 < b
        ]

    def verdict(self) -> str:
        """pass, MISS, FAIL (no result, or one that makes no sense) or - (no target, or only one side was asked for)."""
        if self.errors or (self.ours and self.rival and not self.ratios()):
            return "FAIL"
        if self.cell.target is None or not self.ratios():
            return "-"
        return "pass" if median(self.ratios()) >= self.cell.target else "MISS"


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [
        line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_nbytes": psutil.virtual_memory().total,
        "system": platform.platform(),
    }


def table(rows: list[Row]) -> str:
    """All rows and what to know about them."""
    head = ("what", "unit", "ours", "rival", "ratio", "target", "spread", "n", "")
    lines = [head, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = []
    for line in lines:
        cells = [
            f"{cell:<{w}}" if column in (0, 1, 8) else f"{cell:>{w}}"
            for column, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    text.insert(1, "-" * max(map(len, text)))
    text += [
        "",
        "ours, rival: medians of n rounds; ratio: median of the rounds' ratios, over 1: ours is better;"
        " spread: (max - min) / median of the ratios.",
    ]
    text += [note for row in rows if (note := _fewer(row))]
    for row in rows:
        text += [f"\n{row.cell.name}: {error}" for error in row.errors]
    return "\n".join(text)


def write_json(path: Path, rows: list[Row], about: dict[str, Any]) -> None:
    """Everything that was measured."""
    cells = {
        row.cell.name: {
            "what": row.cell.what.strip(),
            "unit": row.cell.unit,
            "target": row.cell.target,
            "ratio": median(row.ratios()) if row.ratios() else None,
            "ratios": row.ratios(),
            "verdict": row.verdict(),
            "ours": row.ours,
            "rival": row.rival,
            "errors": row.errors,
        }
        for row in rows
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "cells": cells}, indent=1) + "\n")


def _line(row: Row) -> tuple[str, ...]:
    ratios = row.ratios()
    target = "-" if row.cell.target is None else f"{row.cell.target:g}x"
    middle = median(ratios) if ratios else 0.0
    return (
        row.cell.what,
        row.cell.unit,
        *(_number(median(values)) if (values := row.values(side)) else "-" for side in ("ours", "rival")),
        f"{_number(middle)}x" if ratios else "-",
        target,
        f"{(max(ratios) - min(ratios)) / middle:.0%}" if len(ratios) > 1 else "-",
        str(len(ratios)),
        row.verdict(),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _fewer(row: Row) -> str:
    """Who did not do the nominal count within the time."""
    parts = []
    for side in ("ours", "rival"):
        samples = getattr(row, side)
        if samples and (least := min(sample["count"] for sample in samples)) < samples[0]["nominal"]:
            parts.append(f"{side} {least:,}")
    if not parts:
        return ""
    nominal = (row.ours or row.rival)[0]["nominal"]
    return f"{row.cell.what.strip()}: within the time {' and '.join(parts)} of {nominal:,}."
