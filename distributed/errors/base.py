"""The roots of the tree, and what is wrong before anything is said."""

from __future__ import annotations

__all__ = ["AddressError", "ConfigError", "DistributedError", "DistributedWarning", "InvariantError"]


class DistributedError(Exception):
    """Root of the tree: catch it to catch everything this package raises on purpose."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[DistributedError], args: tuple[object, ...], state: dict[str, object]) -> DistributedError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class DistributedWarning(UserWarning):
    """Something works, but not as its user would expect; the text says what to change."""


class InvariantError(DistributedError):
    """Our own fault: a rule that we guarantee does not hold. Please report it with its text."""


class ConfigError(DistributedError, ValueError):
    """The operator's fault: a setting has a value that cannot be used."""

    def __init__(self, setting: str, value: object, rule: str) -> None:
        self.setting = setting
        self.rule = rule
        super().__init__(f"{setting}={value!r} cannot be used: {rule}")


class AddressError(DistributedError, ValueError):
    """The caller's fault: a text that is no address."""

    def __init__(self, address: object, rule: str) -> None:
        self.address = address
        super().__init__(f"{address!r} is not an address: {rule}")
