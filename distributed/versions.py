"""Which versions run in this process, and telling people when they differ between processes."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping

import msgpack

from distributed.errors import DistributedWarning

__all__ = ["PYTHON_MINOR", "VERSION", "all_versions", "platform_tags", "versions_here", "warn_of_mismatch"]

VERSION = "2026.11.0"  # pyproject.toml says the same; a test compares them
PYTHON_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"  # what code and packages depend on

PACKAGES = ("cloudpickle", "tornado", "numpy")  # those whose mismatch breaks functions and data on their way


def versions_here() -> dict[str, str]:
    """What every process tells at its first connection; costs nothing."""
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "platform": sys.platform,
        "distributed": VERSION,
        "msgpack": ".".join(map(str, msgpack.version)),
    }


def all_versions() -> dict[str, str]:
    """`versions_here` and those of packages that travel in pickles, where installed. Cost: 20 ms at the first call."""
    from importlib import metadata  # lazy: it takes 20 ms to import

    found = versions_here()
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def warn_of_mismatch(versions: Mapping[str, Mapping[str, str]]) -> None:
    """Warn once for everything that differs between processes; of Python only the minor version counts.

    Args:
        versions: ``{process: {name: version}}``; what a process does not name is not compared.
    """
    for name in dict.fromkeys(name for found in versions.values() for name in found):
        if name == "platform":
            continue
        by_version: dict[str, str] = {}
        for who, found in versions.items():
            if name in found:
                version = found[name]
                by_version.setdefault(".".join(version.split(".")[:2]) if name == "python" else version, who)
        if len(by_version) > 1:
            said = ", ".join(f"{version} ({who})" for version, who in by_version.items())
            text = f"versions of {name} differ: {said}; functions and data may not load there"
            warnings.warn(text, DistributedWarning, stacklevel=2)


def platform_tags() -> tuple[str, str]:
    """What this machine is, coarse and fine: ``linux`` and ``linux-x86_64``."""
    if hasattr(os, "uname"):
        machine = os.uname().machine
    else:
        import platform  # lazy: it takes 2 ms, and Windows alone needs it

        machine = platform.machine()
    return sys.platform, f"{sys.platform}-{machine}"
