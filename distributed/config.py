"""Settings: each one with its unit, bounds and reason, read from the environment once per process.

The names in capitals below `SAME_HOST` are the settings of the HTTP recipes: masters and workers read them as
attributes of this module, or of whatever object they are given as ``config=``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from distributed.dataclass import dataclass, field, fields
from distributed.errors import ConfigError
from distributed.protocol.codec import Limits
from distributed.units import parse_nbytes, parse_seconds

__all__ = [
    "BATCH_MAX_BYTES",
    "BATCH_MAX_FILES",
    "CENTER_PORT",
    "CHUNK_SIZE",
    "HASH_ALGORITHM",
    "HTTP_PORT",
    "MASTER",
    "NEW_HOME_ROOTS",
    "SCHEDULER_PORT",
    "WORKERS",
    "WORKER_HEARTBEAT_SECONDS",
    "WORKER_PROCESSING_TIMEOUT_SECONDS",
    "WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS",
    "Settings",
    "settings",
]

SCHEDULER_PORT = 8786
CENTER_PORT = 8787
HTTP_PORT = 9786  # of a scheduler's JSON routes
SAME_HOST = ("memory", "socket", "off")

MASTER = ("127.0.0.1", 8000)  # where pull workers find the master
WORKERS = [("127.0.0.1", port) for port in (8001, 8002, 8003, 8004)]  # where the simple and the push master find theirs
CHUNK_SIZE = 262_144  # bytes that a worker reads and hashes at once
WORKER_PROCESSING_TIMEOUT_SECONDS = 4  # beyond the time a file should take, before somebody else gets it
WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS = 4  # a pull worker asks again after that long when others have all that is left
WORKER_HEARTBEAT_SECONDS = 10  # between two looks of the push master at the status of a worker
HASH_ALGORITHM = "sha1"  # one of hashlib's; or "module:function" that turns an iterator of bytes into a text
BATCH_MAX_FILES = 256  # small files that travel in one answer or request; 1: each on its own
BATCH_MAX_BYTES = 4_194_304  # of one batch; a bigger file travels alone
NEW_HOME_ROOTS: list[str] = []  # folders below which POST /new_home may name one; empty: it is refused


@dataclass(slots=True, frozen=True)
class Settings:
    """What an operator may change, by environment variables named ``DISTRIBUTED_<NAME>`` in capitals.

    Attributes:
        key_file: where the user's key lies; None: ``distributed/key`` in the user's configuration folder.
        connect_timeout_s: how long `connect` tries, 3 s as the page Foundations has it.
        handshake_timeout_s: how long a stranger may take to prove that it holds the key.
        allow_forwarding: servers without TLS may be reached at another address than theirs (ssh -L, containers).
        unauthenticated_max: connections at once that have not proven anything yet; more are closed at once.
        header_nbytes_max, frame_count_max, message_nbytes_max: see `Limits`.
        fetch_silence_s: a worker that fetches from another gives up when no byte has come for that long.
        stopped_timeout_s: a worker process that is stopped (SIGSTOP) for that long is killed by its nanny; as long as
            the scheduler waits for a silent worker by default, so that by then nobody else waits for it.
        unsent_nbytes_max: bytes queued for a peer that does not read; then its connection is closed.
        client_patience_s: how long a scheduler keeps what a client holds whose connection broke.
        reconnect_timeout_s: how long a client whose connection broke tries to make it again; a scheduler that is
            started anew needs that long.
        memory_target_fraction, memory_spill_fraction, memory_pause_fraction, memory_terminate_fraction: of a worker's
            memory limit, what happens above is in `distributed.worker.memory`; each at most the next one, 0: off.
        same_host: how data travels between processes of one machine. ``memory``: unix sockets, and big frames are read
            straight from the sender's memory where the system allows it; ``socket``: unix sockets alone; ``off``: TCP,
            as between machines, for example to see all traffic with tools for networks.
        forward_output: whether what tasks print goes to the clients that want them; else to the worker's own files.
    """

    key_file: str | None = None
    connect_timeout_s: float = 3.0
    handshake_timeout_s: float = 5.0
    allow_forwarding: bool = False
    unauthenticated_max: int = 512
    fetch_silence_s: float = 30.0
    stopped_timeout_s: float = 30.0
    header_nbytes_max: int = field(default=Limits().header_nbytes_max)
    frame_count_max: int = field(default=Limits().frame_count_max)
    message_nbytes_max: int = field(default=Limits().message_nbytes_max)
    unsent_nbytes_max: int = 4 * 2**30
    client_patience_s: float = 30.0
    reconnect_timeout_s: float = 30.0
    memory_target_fraction: float = 0.6  # room for what tasks need beside results
    memory_spill_fraction: float = 0.7  # sizes of results are estimates; the process is what counts
    memory_pause_fraction: float = 0.8
    memory_terminate_fraction: float = 0.95  # room for the nanny's reaction
    same_host: str = "memory"
    forward_output: bool = True

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
    result = Settings(**given)  # type: ignore[arg-type]
    _check_fractions(result)
    return result


def _parse(variable: str, name: str, text: str) -> object:
    if name == "key_file":
        return text
    if name in ("allow_forwarding", "forward_output"):
        return _parse_flag(variable, text)
    if name == "same_host":
        if text not in SAME_HOST:
            raise ConfigError(variable, text, f"it is one of {', '.join(SAME_HOST)}")
        return text
    if name.endswith("_s"):
        return parse_seconds(text, variable)
    if name.endswith("_fraction"):
        return _fraction(variable, text)
    number = parse_nbytes(text, variable)
    if number <= 0:
        raise ConfigError(variable, text, "it must be greater than 0")
    return number


def _fraction(variable: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ConfigError(variable, text, "it is a fraction, from 0 (off) to 1")
    return number


def _check_fractions(given: Settings) -> None:
    before = 0.0
    for name in [setting.name for setting in fields(Settings) if setting.name.endswith("_fraction")]:
        value: float = getattr(given, name)
        if value and value < before:
            raise ConfigError(f"DISTRIBUTED_{name.upper()}", value, f"it must not be below the one before it, {before}")
        before = max(before, value)


def _parse_flag(variable: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise ConfigError(variable, text, "write 1 or 0")
    return text == "1"


_settings: Settings | None = None


def settings() -> Settings:
    """The settings of this process, read from its environment at the first call."""
    global _settings
    if _settings is None:
        _settings = from_environment(os.environ)
    return _settings
