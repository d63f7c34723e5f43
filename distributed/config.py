"""Settings: each one with its unit, bounds and reason, read from the environment once per process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from distributed.errors import ConfigError
from distributed.protocol.codec import Limits
from distributed.units import parse_nbytes, parse_seconds

__all__ = ["SCHEDULER_PORT", "Settings", "settings"]

SCHEDULER_PORT = 8786
CENTER_PORT = 8787
SAME_HOST = ("memory", "socket", "off")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may change, by environment variables named ``DISTRIBUTED_<NAME>`` in capitals.

    Attributes:
        key_file: where the user's key lies; None: ``distributed/key`` in the user's configuration folder.
        connect_timeout_s: how long `connect` tries, 3 s as the page Foundations has it.
        handshake_timeout_s: how long a stranger may take to prove that it holds the key.
        unauthenticated_max: connections at once that have not proven anything yet; more are closed at once.
        header_nbytes_max, frame_count_max, message_nbytes_max: see `Limits`.
        unsent_nbytes_max: bytes queued for a peer that does not read; then its connection is closed.
        same_host: how data travels between processes of one machine. ``memory``: unix sockets, and big frames are read
            straight from the sender's memory where the system allows it; ``socket``: unix sockets alone; ``off``: TCP,
            as between machines, for example to see all traffic with tools for networks.
    """

    key_file: str | None = None
    connect_timeout_s: float = 3.0
    handshake_timeout_s: float = 5.0
    unauthenticated_max: int = 512
    header_nbytes_max: int = field(default=Limits().header_nbytes_max)
    frame_count_max: int = field(default=Limits().frame_count_max)
    message_nbytes_max: int = field(default=Limits().message_nbytes_max)
    unsent_nbytes_max: int = 4 * 2**30
    same_host: str = "memory"

    @property
    def limits(self) -> Limits:
        """The limits of one message."""
        return Limits(self.header_nbytes_max, self.frame_count_max, self.message_nbytes_max)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings as the environment has them.

    Raises:
        ConfigError: a value that is no such quantity; the text names the variable.
    """
    given: dict[str, object] = {}
    for setting in fields(Settings):
        variable = f"DISTRIBUTED_{setting.name.upper()}"
        text = environment.get(variable)
        if text:
            given[setting.name] = _parse(variable, setting.name, text)
    return Settings(**given)  # type: ignore[arg-type]


def _parse(variable: str, name: str, text: str) -> object:
    if name == "key_file":
        return text
    if name == "same_host":
        if text not in SAME_HOST:
            raise ConfigError(variable, text, f"it is one of {', '.join(SAME_HOST)}")
        return text
    if name.endswith("_s"):
        return parse_seconds(text, variable)
    number = parse_nbytes(text, variable)
    if number <= 0:
        raise ConfigError(variable, text, "it must be greater than 0")
    return number


_settings: Settings | None = None


def settings() -> Settings:
    """The settings of this process, read from its environment at the first call."""
    global _settings
    if _settings is None:
        _settings = from_environment(os.environ)
    return _settings
