"""What notebooks show of clients, clusters, futures and progress. All text that comes from users is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

__all__ = ["client_html", "cluster_html", "future_html", "progress_html", "text_html"]

_COLORS = {"finished": "#2e7d32", "pending": "#f9a825", "error": "#c62828", "cancelled": "#757575", "lost": "#6a1b9a"}
_CELL = 'style="text-align:left;padding:2px 12px 2px 0"'


def _table(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    body = "".join(
        f"<tr><th {_CELL}>{escape(str(name))}</th><td {_CELL}>{escape(str(value))}</td></tr>" for name, value in rows
    )
    return f"<div><b>{escape(title)}</b><table>{body}</table></div>"


def text_html(text: str) -> str:
    """Lines as they are."""
    return f"<pre>{escape(text)}</pre>"


def client_html(name: str, rows: Iterable[tuple[str, Any]]) -> str:
    """A client: where its scheduler is, and what is known of the cluster."""
    return _table(f"Client {name}", rows)


def cluster_html(name: str, rows: Iterable[tuple[str, Any]]) -> str:
    """A cluster."""
    return _table(f"LocalCluster {name}", rows)


def future_html(key: str, status: str) -> str:
    """A future, in the colour of its status."""
    color = _COLORS.get(status, "#000000")
    return f'<b>Future</b> <span style="color:{color}">{escape(status)}</span>, key <code>{escape(key)}</code>'


def progress_html(rows: Iterable[tuple[str, int, int, int, int]], time_text: str) -> str:
    """Bars: name, finished, failed, cancelled, total of each function; and a line about the time."""
    body = "".join(_bar(*row) for row in rows)
    return f'<div><table style="width:100%">{body}</table><small>{escape(time_text)}</small></div>'


def _bar(name: str, done: int, failed: int, gone: int, total: int) -> str:
    parts = ((done, _COLORS["finished"]), (failed, _COLORS["error"]), (gone, _COLORS["cancelled"]))
    bars = "".join(
        f'<div style="width:{100 * count / total:.2f}%;background:{color};height:12px;float:left"></div>'
        for count, color in parts
        if count
    )
    text = f"{done + failed + gone:,} / {total:,}" + (f", {failed:,} failed" if failed else "")
    return (
        f"<tr><td {_CELL}>{escape(name)}</td>"
        f'<td style="width:60%"><div style="background:#e0e0e0;height:12px;overflow:hidden">{bars}</div></td>'
        f"<td {_CELL}>{text}</td></tr>"
    )
