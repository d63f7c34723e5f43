"""The processes of a Main on this machine. They take longest of all that its first call waits for, so they are started
before it imports what else it needs."""

from __future__ import annotations

import os

from distributed.crews.options import MainSettings
from distributed.crews.schedulers import SchedulerProcess
from distributed.deploy.machine import cores_available
from distributed.offers.local import LocalOffer
from distributed.security.keys import KEY_NBYTES, Keyring, shared_keyring
from distributed.units import parse_nbytes

__all__ = ["Processes"]


class Processes:
    """Starts them, and returns before they are up.

    Args:
        settings: of the Main.
        has_offers: there are others to be used, whatever the settings say.
    Raises:
        OSError: one cannot be started.

    Attributes:
        keys: of this Main alone, for its schedulers, its rooms, and its offer.
        schedulers: the process of schedulers.
        offer: this machine's; None: others are named.
    """

    def __init__(self, settings: MainSettings, has_offers: bool = False) -> None:
        self.keys = shared_keyring(os.urandom(KEY_NBYTES))
        self.offer: LocalOffer | None = None
        if not has_offers and not settings.workers and settings.scheduler is None:
            self.offer = _local_offer(settings, self.keys)  # first: it is there last
        try:
            self.schedulers = SchedulerProcess(self.keys)
        except BaseException:
            if self.offer is not None:
                self.offer.close()
            raise

    def renew_schedulers(self) -> None:
        """Start another one in the place of one that has ended."""
        self.schedulers.close()
        self.schedulers = SchedulerProcess(self.keys)

    def renew_offer(self, settings: MainSettings) -> LocalOffer:
        """Start another one in the place of one that has ended."""
        if self.offer is not None:
            self.offer.close()
        self.offer = _local_offer(settings, self.keys)
        return self.offer

    def close(self) -> None:
        """End them, and wait for that. May be called twice."""
        if self.offer is not None:
            self.offer.close()
        self.schedulers.close()


def _local_offer(settings: MainSettings, keys: Keyring) -> LocalOffer:
    limit = settings.memory_limit
    cores = (
        (settings.n_workers or 1) * settings.threads if settings.threads else settings.n_workers or cores_available()
    )
    return LocalOffer(keys, cores=cores, memory_nbytes=None if limit is None else parse_nbytes(limit, "memory_limit"))
