"""How many workers a cluster should have: a pure policy. What asks it, and does what it says, is `deploy.scaling`."""

from __future__ import annotations

from distributed.dataclass import dataclass, field
from distributed.errors import ConfigError

__all__ = ["Adaptive"]


@dataclass(slots=True)
class Adaptive:
    """More workers at once when there is work, fewer when there was none to speak of for a while.

    Attributes:
        minimum, maximum: workers at least and at most; 0 <= minimum <= maximum, maximum >= 1.
        wait_count: so many times in a row fewer workers must do before some are ended, >= 1: starting is dear.
    Raises:
        ConfigError: bounds that contradict each other.
    """

    minimum: int = 0
    maximum: int = 1
    wait_count: int = 3
    _surplus: list[int] = field(default_factory=list, init=False)  # what would have done, since more are there

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum or self.maximum < 1:
            bounds = f"minimum={self.minimum}, maximum"
            raise ConfigError(bounds, self.maximum, "0 <= minimum <= maximum, and at least one worker at most")
        if self.wait_count < 1:
            raise ConfigError("wait_count", self.wait_count, "it must be at least 1")

    def target(self, desired: int, present: int, has_data: bool) -> int:
        """How many workers there should be now.

        Args:
            desired: workers that the work of this moment would keep busy.
            present: those that are there, or are coming.
            has_data: whether workers hold results: then the last one stays, for it could hand them to nobody.
        """
        least = max(self.minimum, 1 if has_data and present else 0)
        wanted = min(max(desired, least), max(self.maximum, least))
        if wanted >= present:
            self._surplus.clear()
            return wanted
        self._surplus.append(wanted)
        if len(self._surplus) < self.wait_count:
            return present
        fewest = max(self._surplus)  # that would have done all the time
        self._surplus.clear()
        return fewest
