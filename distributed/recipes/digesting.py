"""The task of the recipes: what is made of the content of a file. By default its sha1; any other is a setting away.

``HASH_ALGORITHM`` names one of hashlib's algorithms, or a function of yours as ``"module:function"``, which gets an
iterator of bytes (the content, in pieces of any size) and returns a text of one line. It is imported by workers and by
masters, which check what workers tell them. Not here: how content reaches a worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from distributed import config as default_config
from distributed.errors import ConfigError
from distributed.lazy import object_at

__all__ = ["TEXT_LENGTH_MAX", "DigestFunction", "algorithm_of", "digest_function", "is_digest", "new_hasher"]

TEXT_LENGTH_MAX = 1024  # characters of what a function of the user's may return: masters keep one per file
HEX_DIGITS = frozenset("0123456789abcdef")

DigestFunction = Callable[[Iterator[bytes]], str]


def digest_function(config: Any = None) -> DigestFunction:
    """The function that turns the content of one file, piece by piece, into its digest.

    Args:
        config: an object with the settings as attributes; None: the module `distributed.config`.
    Raises:
        ConfigError: ``HASH_ALGORITHM`` names neither an algorithm nor a function that can be imported.
    """
    algorithm = algorithm_of(config)
    if ":" in algorithm:
        return _checked(algorithm, _imported(algorithm))
    _hex_length(algorithm)

    def digest(pieces: Iterator[bytes]) -> str:
        hasher = new_hasher(algorithm)
        for piece in pieces:
            hasher.update(piece)
        text: str = hasher.hexdigest()
        return text

    return digest


def is_digest(text: str, config: Any = None) -> bool:
    """Whether `text` can be what the function returns: hex digits of the algorithm's length, in lower case.

    Of a function of the user's: any text of one printable line, not empty, of at most `TEXT_LENGTH_MAX` characters.
    """
    algorithm = algorithm_of(config)
    if ":" in algorithm:
        return 0 < len(text) <= TEXT_LENGTH_MAX and text.isprintable()
    return len(text) == _hex_length(algorithm) and HEX_DIGITS.issuperset(text)


def algorithm_of(config: Any = None) -> str:
    """The setting, as a text."""
    return str((default_config if config is None else config).HASH_ALGORITHM)


@lru_cache
def _hex_length(algorithm: str) -> int:
    """Of its digests, in hex digits."""
    length: int = 2 * new_hasher(algorithm).digest_size
    if length == 0:
        raise ConfigError("HASH_ALGORITHM", algorithm, "its digests have no fixed length; name another, such as sha256")
    return length


def new_hasher(algorithm: str) -> Any:
    """An object of hashlib's.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return hashlib.new(algorithm, usedforsecurity=False)
    except ValueError:
        rule = "it is one of hashlib's algorithms, such as sha1 or sha256, or a function as module:function"
        raise ConfigError("HASH_ALGORITHM", algorithm, rule) from None


def _imported(name: str) -> Callable[[Iterator[bytes]], Any]:
    try:
        found = object_at(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError("HASH_ALGORITHM", name, f"it cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError("HASH_ALGORITHM", name, "it is no function")
    function: Callable[[Iterator[bytes]], Any] = found
    return function


def _checked(name: str, function: Callable[[Iterator[bytes]], Any]) -> DigestFunction:
    """`function`, which is the user's, with a result that masters will accept."""

    def digest(pieces: Iterator[bytes]) -> str:
        text = function(pieces)
        if not isinstance(text, str) or not 0 < len(text) <= TEXT_LENGTH_MAX or not text.isprintable():
            rule = f"it returned a {type(text).__name__} that is no text of one line, at most {TEXT_LENGTH_MAX} long"
            raise ConfigError("HASH_ALGORITHM", name, rule)
        return text

    return digest
