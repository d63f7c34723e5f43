"""The console script ``dcluster``: a scheduler and workers at named hosts, until SIGINT or SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from typing import Any

import click

from distributed.config import SCHEDULER_PORT
from distributed.deploy.cluster import Cluster
from distributed.deploy.places import place_of_host
from distributed.errors import ConfigError
from distributed.log import log_to_stderr
from distributed.process.ending import EXIT_FAILED, guarded

__all__ = ["main", "read_hosts"]

logger = logging.getLogger("distributed.deploy")

WATCH_S = 0.2  # between two looks at who has ended
SCHEDULER_ENDS_S = 10.0  # one that ends on purpose sends its workers away first, and may be seen to end after them


class _SchedulerCluster(Cluster):
    """One around a plain scheduler."""

    center_script = "distributed.cli.dscheduler"
    center_name = "scheduler"
    center_port = SCHEDULER_PORT


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("hosts", nargs=-1)
@click.option("--hostfile", type=click.Path(exists=True, dir_okay=False), help="More hosts, one in each line.")
@click.option("--scheduler", metavar="HOST", help="Where the scheduler runs. [default: the first host]")
@click.option("--scheduler-port", type=click.IntRange(0, 65535), default=SCHEDULER_PORT, show_default=True)
@click.option("--nthreads", type=click.IntRange(1), help="Tasks at once in each worker process. [default: its cores]")
@click.option("--nprocs", type=click.IntRange(1), default=1, show_default=True, help="Worker processes on each host.")
@click.option("--ssh-username", metavar="USER", help="There. [default: what ~/.ssh/config says]")
@click.option("--ssh-port", type=click.IntRange(1, 65535), help="Of the ssh servers. [default: likewise]")
@click.option("--ssh-private-key", type=click.Path(exists=True, dir_okay=False), help="Log in with this key only.")
@click.option("--ssh-option", multiple=True, metavar="NAME=VALUE", help="As for `ssh -o`, such as ProxyJump=gate.")
@click.option("--ssh", is_flag=True, help="Use ssh for this machine too.")
@click.option("--python", metavar="PATH", help="The interpreter there. [default: the path of this one]")
@click.option("--log-directory", type=click.Path(file_okay=False), help="A folder here: a file for each server.")
@click.option("--timeout", default="60s", show_default=True, metavar="DURATION", help="For all to join.")
@click.option("--tls", is_flag=True, help="Encrypt on loopback too. [default: only between machines]")
@click.option("--insecure", is_flag=True, help="Encrypt nothing, even between machines.")
@click.version_option(package_name="distributed")
def main(
    hosts: tuple[str, ...], hostfile: str | None, scheduler: str | None, scheduler_port: int, nthreads: int | None,
    nprocs: int, ssh_username: str | None, ssh_port: int | None, ssh_private_key: str | None,
    ssh_option: tuple[str, ...], ssh: bool, python: str | None, log_directory: str | None, timeout: str, tls: bool,
    insecure: bool,
) -> None:  # fmt: skip
    """Start a scheduler and a worker at each of HOSTS (host or host:port), by ssh where that is another machine.

    All of it ends with this command. What the servers print is shown here, unless there is a --log-directory.

    Exit codes: 0 after SIGINT, SIGTERM or the scheduler's end; 1 if something cannot start, or if the scheduler or all
    workers fail.
    """
    log_to_stderr("INFO")
    if tls and insecure:
        raise click.UsageError("--tls and --insecure contradict each other")

    def run() -> int:
        named = [*hosts, *(read_hosts(hostfile) if hostfile else [])]
        if not named:
            raise click.UsageError("name at least one host, or a --hostfile")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, also while all is being started
        options: dict[str, Any] = {
            "nthreads": nthreads, "nprocs": nprocs, "ssh": ssh or None, "log_directory": log_directory,
            "timeout": timeout, "security": tls or None, "insecure": insecure, "username": ssh_username,
            "port": ssh_port, "private_key": ssh_private_key, "ssh_options": ssh_option, "python": python,
            "on_line": None if log_directory else _show,
        }  # fmt: skip
        place = place_of_host(scheduler or place_of_host(named[0], 0).host, scheduler_port)
        with _SchedulerCluster(named, place, **options) as cluster:
            logger.info("scheduler at %s, with workers at %d hosts", cluster.scheduler_address, len(cluster.hosts))
            logger.info("connect with: Client(%r); Ctrl-C ends it", cluster.scheduler_address)
            try:
                return _watch(cluster)
            except KeyboardInterrupt:
                logger.info("the cluster ends")
                return 0

    guarded(run)


def read_hosts(path: str) -> list[str]:
    """The hosts in a file, one in each line; what follows ``#`` and empty lines do not count. Raises ConfigError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        hosts = [text for line in file if (text := line.partition("#")[0].strip())]
    if not hosts:
        raise ConfigError("--hostfile", path, "it names no host")
    return hosts


def _watch(cluster: Cluster) -> int:
    """Wait for the end of the scheduler, or of all workers; the exit code."""
    told: set[str] = set()
    deadline: float | None = None  # once no worker is left
    while True:
        ended = cluster.ended()
        if (code := ended.get(cluster.center_name)) is not None:
            logger.log(logging.ERROR if code else logging.INFO, "the scheduler has ended")
            return EXIT_FAILED if code else 0
        for name in sorted(ended.keys() - told):
            told.add(name)
            logger.warning("the worker at %s has ended with exit code %d", name, ended[name])
        if len(told) == len(cluster.hosts):
            now = time.monotonic()
            deadline = deadline or now + SCHEDULER_ENDS_S
            if now > deadline:
                logger.error("no worker is left")
                return EXIT_FAILED
        time.sleep(WATCH_S)


def _show(name: str, line: str) -> None:
    """A line of a server; nobody may be reading any more."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"[{name}] {line}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    main()
