"""Cluster: a center and workers at named hosts, started by ssh or, on this machine, without it."""

from __future__ import annotations

import atexit
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from subprocess import CompletedProcess
from typing import Any

from distributed.client.client import Client
from distributed.comm.addresses import is_loopback, parse_address
from distributed.config import CENTER_PORT
from distributed.deploy.launching import CLOSE_S, Launched, run_at
from distributed.deploy.places import Place, place_of_host, plan
from distributed.deploy.ssh import Login
from distributed.errors import ConfigError, ConnectTimeoutError
from distributed.security.certificates import certificates
from distributed.units import parse_seconds

__all__ = ["Cluster"]

CENTER_SCRIPT = "distributed.cli.dcenter"
WORKER_SCRIPT = "distributed.cli.dworker"
LOGINS_MAX = 8  # at once at one host: from ten on, an sshd with the usual settings turns some away (MaxStartups)
POLL_S = 0.05  # between two looks at who has joined
REPORT = "center.json"


class Cluster:
    """A center and workers at hosts of yours, until `close`, or the end of this program, however it ends.

        with Cluster(hosts=["127.0.0.1:8788", "127.0.0.1:8789"], center="127.0.0.1:8787") as cluster:
            client = Client(cluster)  # or Pool("127.0.0.1:8787")

    A host that is this very machine needs no ssh; at others everything is started by the system's ``ssh``, and lives as
    long as that connection. Losing the last reference ends nothing: programs find the cluster by its address.

    Args:
        hosts: of the workers: ``'host'``, ``'host:port'`` or pairs. The port is where the worker listens; without one
            it is any free one. Names and addresses are those that ssh understands.
        center: where the center listens, likewise; None: at the first host. Without a port: 8787.
        ssh: True: use ssh for this machine, too. False: never; other hosts are an error.
        nthreads: tasks at once in each worker process; None: as many as its machine has cores.
        nprocs: worker processes for each of `hosts`; more than one only without ports.
        worker_options, center_options: further options of ``dworker``, such as ``["--resources", "GPU=1"]``, and of
            ``dcenter``.
        security: True: TLS on loopback too; None: only between machines, which need a certificate then.
        insecure: encrypt nothing, even between machines.
        log_directory: a folder here, made if it is missing: it gets a file for each server; None: see `logs`.
        timeout: for all to join, such as ``"30s"``, or seconds.
        on_line: told the name of a server and each line that it prints, in a thread of ours.
        auth: how ssh logs in: ``username``, ``port``, ``private_key`` (or ``key_filename``), ``ssh_options``; and
            ``python``, the interpreter there. See `distributed.deploy.ssh.Login`.
    Raises:
        ConfigError: a host twice, the center among the workers, or another argument that cannot be used.
        RemoteCommandError: a server did not come up; the text has what it, or ssh, said.
        CertificateError: hosts are beyond this machine, and this user has no certificate.

    Attributes:
        hosts: pairs of host and port, port None: any free one.
        center: host and port of the center.
        scheduler_address: canonical address of the center.
    """

    center_script = CENTER_SCRIPT
    center_name = "center"
    center_port = CENTER_PORT

    def __init__(
        self,
        hosts: Iterable[Any],
        center: Any = None,
        *,
        ssh: bool | None = None,
        nthreads: int | None = None,
        nprocs: int = 1,
        worker_options: Sequence[str] = (),
        center_options: Sequence[str] = (),
        security: bool | None = None,
        insecure: bool = False,
        log_directory: str | os.PathLike[str] | None = None,
        timeout: str | float = "60s",
        on_line: Callable[[str, str], object] | None = None,
        **auth: Any,
    ) -> None:
        places, middle = plan(hosts, center, self.center_port)
        if nprocs < 1 or (nprocs > 1 and any(place.port for place in places)):
            raise ConfigError(
                "nprocs", nprocs, "at least 1; and more only if no host has a port, which one process takes"
            )
        if security not in (None, True, False) or (security and insecure):
            raise ConfigError(
                "security", security, "True (TLS on loopback too) or None, and not together with insecure"
            )
        self._deadline = time.monotonic() + parse_seconds(timeout, "timeout")
        self._ssh = ssh
        self._login = Login.from_keywords(auth)
        self._common = ["--insecure"] if insecure else []
        self._center_options = [*(["--tls"] if security else []), *center_options]  # the workers follow in this
        self._worker_options = [*_option("--nthreads", nthreads), *_option("--nworkers", nprocs), *worker_options]
        self._log_directory = None if log_directory is None else os.fspath(log_directory)
        self._on_line = on_line
        self.hosts = [(place.host, place.port or None) for place in places]
        self.center = (middle.host, middle.port)
        self.scheduler_address = ""
        self._routes = {host: self._route(host) for host in dict.fromkeys(place.host for place in (middle, *places))}
        self._check_routes(bool(security), insecure)
        if self._log_directory is not None:
            os.makedirs(self._log_directory, exist_ok=True)
        self._servers = _Servers()
        try:
            self._start(middle, places)
            self._wait_joined(places, nprocs)
        except BaseException:
            self.close()
            raise

    @property
    def status(self) -> str:
        """``'running'``; ``'closed'`` once it was closed, or its center has ended."""
        center = self._servers.center
        return "running" if center is not None and not center.has_ended() else "closed"

    def logs(self) -> dict[str, str]:
        """The last lines that each server printed, by its name: ``'center'``, and the hosts of the workers."""
        return {server.name: server.said() for server in self._servers.all()}

    def ended(self) -> dict[str, int]:
        """Names and exit codes of the servers that have ended, though nobody closed the cluster."""
        return {server.name: server.exit_code() for server in self._servers.all() if server.has_ended()}

    def remote(self, host: Any, command: str | Sequence[str], timeout: str | float = "60s") -> CompletedProcess[str]:
        """Run a command at a host, as the cluster's servers were: its output and exit code.

        Args:
            host: in any spelling; the port does not matter.
            command: a text for the shell there, or words.
            timeout: such as ``"10s"``, or seconds.
        Raises:
            RemoteCommandError: ssh could not log in. TimeoutError: it took longer.
        """
        name = place_of_host(host, 0).host
        return run_at(name, command, self._route(name)[0], parse_seconds(timeout, "timeout"))

    def close(self) -> None:
        """End the workers, then the center, and wait until they have ended. May be called twice."""
        self._servers.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.scheduler_address}, {len(self.hosts)} hosts, {self.status}>"

    # ------------------------------------------------------------ private

    def _route(self, host: str) -> tuple[Login | None, str | None]:
        """How to get there, None: it is here; and where servers there listen, None: where ssh reaches it."""
        own = _own_address(host)
        if own is None and self._ssh is False:
            raise ConfigError("ssh", False, f"{host} is another machine than this")
        if own is not None and not self._ssh:
            return None, own
        return self._login, host if _is_numeric(host) else None

    def _check_routes(self, security: bool, insecure: bool) -> None:
        beyond = [host for host, (_, listen_at) in self._routes.items() if not is_loopback(listen_at or host)]
        if beyond and len(beyond) < len(self._routes):
            within = next(host for host in self._routes if host not in beyond)
            raise ConfigError("hosts", within, f"{beyond[0]} cannot reach it; name this machine as others see it")
        if security or (beyond and not insecure):
            certificates()  # told here, by the name of the file that is missing

    def _start(self, middle: Place, places: Sequence[Place]) -> None:
        """The center, and when it is known where it listens, all workers at once."""
        arguments = ["--port", str(middle.port), "--scheduler-file", f"{{folder}}/{REPORT}", *self._center_options]
        center = self._servers.center = self._launch(self.center_name, self.center_script, arguments, middle, REPORT)
        report = json.loads(center.wait_event("report", self._deadline)["text"])
        self.scheduler_address = report["address"]
        address = parse_address(self.scheduler_address)
        self.center = (address.host, address.port)
        for place in places:
            before = [worker for worker in self._servers.workers if worker.place == place.host]
            if len(before) >= LOGINS_MAX:
                before[-LOGINS_MAX].wait_event("begun", self._deadline)
            arguments = [self.scheduler_address, "--port", str(place.port), "--name", str(place), *self._worker_options]
            self._servers.workers.append(self._launch(str(place), WORKER_SCRIPT, arguments, place, None))

    def _launch(self, name: str, script: str, arguments: Sequence[str], place: Place, report: str | None) -> Launched:
        login, listen_at = self._routes[place.host]
        given = ["--host", "{host}", *arguments, *self._common]
        return Launched(
            name, script, given, place.host, login=login, listen_at=listen_at, report=report,
            log_directory=self._log_directory, on_line=self._on_line,
        )  # fmt: skip

    def _wait_joined(self, places: Sequence[Place], nprocs: int) -> None:
        """Wait until the center knows all workers, or one has ended."""
        wanted = {
            name: worker
            for place, worker in zip(places, self._servers.workers, strict=True)
            for name in ([str(place)] if nprocs == 1 else [f"{place}-{number}" for number in range(nprocs)])
        }
        within = is_loopback(self.center[0])
        for worker in self._servers.workers:
            host = worker.wait_event("begun", self._deadline)["host"]
            if is_loopback(host) != within:
                raise worker.failure(f"it listens at {host}, and the center at {self.center[0]}: one is out of reach")
        with self._connect() as client:
            while True:
                joined = {worker["name"] for worker in client.scheduler_info()["workers"].values()}
                missing = [worker for name, worker in wanted.items() if name not in joined]
                if not missing:
                    return
                for server in self._servers.all():
                    server.check_running()
                if time.monotonic() > self._deadline:
                    raise missing[0].failure(f"it has not joined {self.scheduler_address} in time")
                time.sleep(POLL_S)

    def _connect(self) -> Client:
        center = self._servers.center
        assert center is not None
        try:
            return Client(self.scheduler_address, timeout=max(1.0, self._deadline - time.monotonic()))
        except ConnectTimeoutError:
            center.check_running()
            raise center.failure(f"it cannot be reached from here at {self.scheduler_address}; a firewall?") from None


class _Servers:
    """What a cluster has started; kept by this program until it is closed, even when nobody has the `Cluster`."""

    def __init__(self) -> None:
        self.center: Launched | None = None
        self.workers: list[Launched] = []
        self._pid = os.getpid()
        atexit.register(self.close)

    def all(self) -> list[Launched]:
        """The center first."""
        return [*([] if self.center is None else [self.center]), *self.workers]

    def close(self) -> None:
        """End them, the center last, unless this is a fork of the program that has them."""
        if os.getpid() != self._pid:
            return
        workers, self.workers = self.workers, []
        center, self.center = self.center, None
        for worker in workers:
            worker.close_soon()
        deadline = time.monotonic() + CLOSE_S  # for all of them, wherever they are
        for worker in workers:
            worker.close(deadline)
        if center is not None:
            center.close()
        atexit.unregister(self.close)


def _own_address(host: str) -> str | None:
    """The address of this machine that `host` names; None: it is not this machine, or not known here."""
    try:
        found = [place[4][0] for place in socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)]
    except OSError:
        return None  # a name that only ssh knows
    for address in map(str, found):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                continue  # an address of another machine
            return address
    return None


def _is_numeric(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 0, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True


def _option(name: str, value: int | None) -> list[str]:
    return [] if value is None else [name, str(value)]
