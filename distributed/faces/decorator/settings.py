"""What `setup` is told, as `MainSettings`: from keywords, a configuration and the environment, in that order.

Pure: the file was read by `starting`.
"""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Mapping
from typing import Any

from distributed.crews.options import QUEUED_CALLS_MAX, QUEUED_NBYTES_MAX, MainSettings
from distributed.errors import ConfigError, DistributedWarning
from distributed.units import parse_nbytes, parse_seconds
from distributed.workspace.limits import FILES_MAX, NBYTES_MAX

__all__ = ["main_settings"]

KEYS = (
    *("ident", "entry", "workers", "scheduler", "credential", "workspace", "requirements", "n_workers", "threads"),
    *("memory_limit", "follow", "timeout", "queued_calls_max", "queued_nbytes_max"),
)
WORKSPACE_KEYS = ("root", "include", "exclude", "nbytes_max", "files_max")
FROM_ENVIRONMENT = {
    "workers": "DISTRIBUTED_WORKERS",
    "scheduler": "DISTRIBUTED_SCHEDULER_ADDRESS",
    "credential": "DISTRIBUTED_CREDENTIAL",
}


def main_settings(config: Any, path: str, keywords: Mapping[str, Any], environment: Mapping[str, str]) -> MainSettings:
    """The settings.

    Args:
        config: the content of a configuration.
        path: where it was read; empty: nowhere, it is a dict.
    Raises:
        ConfigError: the text names key and file.
    """
    where = path or "setup()"
    given = {**_of_environment(environment), **_of_config(config, where, posixpath.dirname(path)), **keywords}
    for key in keywords:
        _check_key(key, KEYS, "setup()")
    return _settings(given)


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, variable in FROM_ENVIRONMENT.items():
        if text := environment.get(variable, "").strip():
            found[key] = [part.strip() for part in text.split(",") if part.strip()] if key == "workers" else text
    return found


def _of_config(config: Any, where: str, folder: str) -> dict[str, Any]:
    """Its keys, those of its section ``main`` among them, with paths relative to `folder`."""
    given = dict(_checked(config, "config", where, Mapping, "an object with keys such as workers"))
    main = _checked(given.pop("main", None) or {}, "main", where, Mapping, "an object")
    worker = given.pop("worker", None)
    if worker:
        warnings.warn(
            DistributedWarning(
                f"{where}: workers are not configured by their Mains; give its section worker to dworker --offer"
            ),
            stacklevel=5,  # the caller of `setup`
        )
    found: dict[str, Any] = {}
    for key, value in (*given.items(), *main.items()):
        _check_key(key, KEYS, where)
        found[key] = value
    if folder:
        _move_paths(found, folder)
    return found


def _move_paths(found: dict[str, Any], folder: str) -> None:
    for key in ("credential", "entry"):
        if isinstance(found.get(key), str):
            found[key] = posixpath.join(folder, found[key])
    if isinstance(found.get("requirements"), str) and found["requirements"] != "inherit":
        found["requirements"] = posixpath.join(folder, found["requirements"])
    workspace = found.get("workspace")
    if isinstance(workspace, str):
        found["workspace"] = posixpath.join(folder, workspace)
    elif isinstance(workspace, Mapping) and isinstance(workspace.get("root"), str):
        found["workspace"] = {**workspace, "root": posixpath.join(folder, workspace["root"])}


def _settings(given: dict[str, Any]) -> MainSettings:
    workspace = given.get("workspace")
    if workspace is None or isinstance(workspace, str) or hasattr(workspace, "__fspath__"):
        workspace = {"root": workspace}
    workspace = _checked(workspace, "workspace", "setup()", Mapping, "a folder, or its root, include and exclude")
    for key in workspace:
        _check_key(key, WORKSPACE_KEYS, "workspace")
    timeout = given.get("timeout")
    return MainSettings(
        ident=_text(given, "ident") or "",
        entry=_text(given, "entry"),
        workers=_texts(given, "workers"),
        scheduler=_text(given, "scheduler"),
        credential=_text(given, "credential"),
        root=_text(workspace, "root"),
        include=_texts(workspace, "include"),
        exclude=_texts(workspace, "exclude"),
        nbytes_max=_nbytes(workspace, "nbytes_max") or NBYTES_MAX,
        files_max=_count(workspace, "files_max", 1) or FILES_MAX,
        requirements=_requirements(given.get("requirements")),
        n_workers=_count(given, "n_workers", 1),
        threads=_count(given, "threads", 1),
        memory_limit=_memory(given.get("memory_limit")),
        follow=_checked(given.get("follow", True), "follow", "setup()", bool, "true or false"),
        timeout_s=None if timeout is None else parse_seconds(timeout, "timeout"),
        queued_calls_max=_count(given, "queued_calls_max", 1) or QUEUED_CALLS_MAX,
        queued_nbytes_max=_nbytes(given, "queued_nbytes_max") or QUEUED_NBYTES_MAX,
    )


def _check_key(key: object, keys: tuple[str, ...], where: str) -> None:
    if key not in keys:
        import difflib  # lazy: 3 ms of import that only a mistake needs

        near = difflib.get_close_matches(str(key), keys, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(keys)}"
        raise ConfigError(where, key, f"there is no such key; {hint}")


def _checked(value: Any, key: str, where: str, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(f"{where}: {key}", value, f"it is {what}")
    return value


def _text(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is None:
        return None
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if not isinstance(value, str) or not value:
        raise ConfigError(key, value, "it is a text, and not empty")
    return value


def _texts(given: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = given.get(key)
    if value is None:
        return ()
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, str) and entry for entry in entries):
        raise ConfigError(key, value, "it is a list of texts")
    return tuple(entries)


def _requirements(value: Any) -> Any:
    if value is None:
        return "inherit"
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if isinstance(value, (list, tuple)) and all(isinstance(line, str) for line in value):
        return tuple(value)
    return _checked(value, "requirements", "setup()", str, "'inherit', the path of a file, or a list of lines")


def _count(given: Mapping[str, Any], key: str, least: int) -> int | None:
    value = given.get(key)
    if value is not None and (type(value) is not int or value < least):
        raise ConfigError(key, value, f"it is an integer of at least {least}")
    return value


def _memory(value: Any) -> str | int | None:
    if value in (None, "auto"):
        return value  # type: ignore[no-any-return]
    return parse_nbytes(value, "memory_limit")


def _nbytes(given: Mapping[str, Any], key: str) -> int | None:
    value = given.get(key)
    return None if value is None else parse_nbytes(value, key)
