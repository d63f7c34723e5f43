"""The console script ``dscheduler``: a scheduler until SIGINT or SIGTERM."""

from __future__ import annotations

import logging

import click

from distributed.config import HTTP_PORT, SCHEDULER_PORT
from distributed.errors import PortTakenError
from distributed.log import LEVELS, log_to_stderr
from distributed.process.ending import guarded
from distributed.process.preload import Preloads
from distributed.process.running import on_signals, run_loop
from distributed.scheduler.process import remove_scheduler_file, write_scheduler_file
from distributed.scheduler.server import Scheduler
from distributed.scheduler.state import Settings
from distributed.security.keys import keyring
from distributed.units import parse_seconds

__all__ = ["main"]

logger = logging.getLogger("distributed.scheduler")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", type=click.IntRange(0, 65535), default=SCHEDULER_PORT, show_default=True, help="0: any free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on.")
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    help=f"Of the JSON routes; 0: any free. [default: {HTTP_PORT}, or any]",
)
@click.option("--http/--no-http", default=True, help="Answer HTTP, for whoever has the token.  [default: http]")
@click.option("--scheduler-file", type=click.Path(dir_okay=False), help="Write the address to this file, for others.")
@click.option(
    "--deaths-max",
    type=click.IntRange(0),
    default=Settings().deaths_max,
    show_default=True,
    help="Give a task up after so many workers died while it ran; 0: never.",
)
@click.option(
    "--worker-timeout",
    default="30 s",
    show_default=True,
    help="Give up a worker that was silent for so long, such as 10 s or 2m; 0: never.",
)
@click.option("--tls", is_flag=True, help="Encrypt on loopback too. [default: if --host is one that others can reach]")
@click.option("--insecure", is_flag=True, help="Encrypt nothing, even if others can reach --host.")
@click.option("--preload", multiple=True, metavar="MODULE|FILE.py", help="Load it, and call its setup(scheduler).")
@click.option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), default="INFO", show_default=True)
@click.version_option(package_name="distributed")
def main(
    port: int,
    host: str,
    http_port: int | None,
    http: bool,
    scheduler_file: str | None,
    deaths_max: int,
    worker_timeout: str,
    tls: bool,
    insecure: bool,
    preload: tuple[str, ...],
    log_level: str,
) -> None:
    """Start a scheduler. Workers join it with `dworker ADDRESS`, programs with `Client(ADDRESS)`.

    Exit codes: 0 after SIGINT or SIGTERM, 1 if it cannot start, 3 if the key file cannot be used.
    """
    log_to_stderr(log_level)
    kind = click.get_current_context().find_object(type) or Scheduler  # `dcenter` names another
    name = kind.__name__.lower()
    if tls and insecure:
        raise click.UsageError("--tls and --insecure contradict each other")

    async def serve(settings: Settings) -> int:
        preloads = Preloads(preload)
        scheduler = kind(settings=settings)
        scheduler.listen(port, host, insecure, tls)
        await preloads.setup(scheduler)
        on_signals(scheduler.close_soon)
        if http:
            _serve_http(scheduler, http_port, host, insecure, tls)
        if scheduler_file:
            write_scheduler_file(
                scheduler_file, scheduler.id, scheduler.address, scheduler.fingerprint, scheduler.services.url()
            )
        logger.info("%s at %s", name, scheduler.address)
        way = f"--scheduler-file {scheduler_file}" if scheduler_file else scheduler.address
        logger.info("start workers with: dworker %s", way)
        try:
            await scheduler.finished
        finally:
            if scheduler_file:
                remove_scheduler_file(scheduler_file, scheduler.id)
            await preloads.teardown(scheduler)
        return 0

    def run() -> int:
        keyring()  # first, so that a key file that cannot be used is told before a port is taken
        timeout_s = parse_seconds(worker_timeout, "--worker-timeout")
        return run_loop(serve(Settings(deaths_max=deaths_max, worker_timeout_s=timeout_s or None)))

    guarded(run)


def _serve_http(scheduler: Scheduler, port: int | None, host: str, insecure: bool, tls: bool) -> None:
    """Start HTTP beside a scheduler that listens already; where the usual port is taken, at any free one."""
    try:
        scheduler.services.want_http(HTTP_PORT if port is None else port)
        scheduler.services.start(scheduler, 0, host, insecure, tls)
    except PortTakenError:
        if port is not None:
            raise
        scheduler.services.want_http(0)
        scheduler.services.start(scheduler, 0, host, insecure, tls)
        logger.info("port %d is taken, so HTTP has another one", HTTP_PORT)
    logger.info("JSON at %s; the token: python -m distributed key --http", scheduler.services.url())


if __name__ == "__main__":
    main()
