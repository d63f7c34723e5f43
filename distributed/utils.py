"""Helpers under the names by which other libraries look for them in ``distributed.utils``."""

from __future__ import annotations

from distributed.units import format_nbytes as format_bytes
from distributed.units import format_seconds as format_time
from distributed.units import parse_nbytes as parse_bytes
from distributed.units import parse_seconds as parse_timedelta

__all__ = ["format_bytes", "format_time", "parse_bytes", "parse_timedelta"]
