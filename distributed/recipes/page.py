"""``GET /home_status``: how far a master is, as JSON for programs and as a live page for people.

The page is one file without anything from elsewhere; it asks for ``?details=1`` every second. A master that has it:

    app = GuardedApplication([(constants.MASTER_PATH_HOME_STATUS, HomeStatus), ...], {"master": master})

with ``master.home_status(include_files=False)``, the plain JSON, and ``master.details()``, a dict of

    state          {"total", "finished"} and "failed" if there are any
    home, algorithm                        texts for the head line
    waiting        files that no worker has
    bytes          {"total", "finished"}
    files_per_s, bytes_per_s               of the last seconds
    failed         [path, reason] of some of them; failed_count: of how many
    workers        a dict each: "name", "state", then any other columns, in the order that the page shows; a column
                   named ``bytes...`` is shown as a size, one named ``..._s_ago`` as a time
"""

from __future__ import annotations

from pathlib import Path

from distributed.web.guard import GuardedHandler

__all__ = ["HomeStatus", "Root", "parse_flag"]

TRUE = ("1", "true", "yes", "on")
FALSE = ("", "0", "false", "no", "off")


class HomeStatus(GuardedHandler):
    """See above; for every role."""

    def get(self) -> None:
        """The page for a browser, which asks for HTML; else JSON."""
        flags = {name: parse_flag(self.get_query_argument(name, "")) for name in ("include_files", "details")}
        if None in flags.values():
            self.answer(400, f"include_files and details are one of {', '.join(TRUE + FALSE[1:])}")
        elif flags["details"]:
            self.answer_json(self.application["master"].details())
        elif flags["include_files"] or "text/html" not in self.request.headers.get("Accept", ""):
            self.answer_json(self.application["master"].home_status(bool(flags["include_files"])))
        else:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(_page())


class Root(GuardedHandler):
    """``GET /``: to the page."""

    def get(self) -> None:
        """Send it there."""
        self.redirect("/home_status")


def parse_flag(text: str) -> bool | None:
    """Yes or no; None: neither."""
    word = text.strip().lower()
    return True if word in TRUE else False if word in FALSE else None


def _page() -> bytes:
    return Path(__file__).with_name("page.html").read_bytes()
