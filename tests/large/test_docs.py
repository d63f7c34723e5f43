"""What the manual shows is run: its scripts and sessions do what the page says, its ports moved to free ones."""

from __future__ import annotations

import doctest
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.testing import pages

ROOT = Path(__file__).parents[2]
ALL_EXAMPLES = {(page, name): example for page in pages.pages(ROOT) for name, example in pages.examples(page).items()}
ALL_SESSIONS = [session for page in pages.pages(ROOT) for session in pages.sessions(page)]
BESIDE = {(e.page, e.beside) for e in ALL_EXAMPLES.values()} | {(s.page, s.beside) for s in ALL_SESSIONS}
CLUSTER = ("dscheduler", "dworker 127.0.0.1:8786", "dworker 127.0.0.1:8786", "dworker 127.0.0.1:8786")  # of quickstart
PORTS = ("8786", "8787", "8788", "8789", "8888", "9786")
PATIENCE_S = 30.0


class Workshop:
    """A folder, a key and ports of our own, and the processes started in it; all are gone after `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DISTRIBUTED_KEY_FILE": str(folder / "key"),
            "PYTHONUNBUFFERED": "1",
            "XDG_CACHE_HOME": str(folder.with_name(f"{folder.name}-cache")),
            "PYTHONPATH": str(ROOT),
        }
        self._port_by_text = {text: str(free_port()) for text in PORTS}
        self._processes: list[subprocess.Popen[str]] = []

    def moved(self, text: str) -> str:
        """`text` with the page's ports replaced by ours."""
        return re.sub("|".join(PORTS), lambda found: self._port_by_text[found[0]], text)

    def start(self, command: str) -> subprocess.Popen[str]:
        """Run `command` beside the test; its output goes to a file, which `said` shows."""
        with open(self.folder / f"output-{len(self._processes)}", "w") as output:
            process = subprocess.Popen(
                command,
                shell=True,
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def start_python(self, name: str, code: str) -> subprocess.Popen[str]:
        """Run `code` as the script `name` beside the test."""
        (self.folder / name).write_text(self.moved(code))
        return self.start(f"exec {sys.executable} {name}")

    def said(self, process: subprocess.Popen[str]) -> str:
        """What `process` has printed so far."""
        return (self.folder / f"output-{self._processes.index(process)}").read_text()

    def start_beside(self, page: Path, name: str) -> None:
        """Start what an example needs and wait until it can be reached."""
        if name == "cluster":
            for command in CLUSTER:
                command = f"{command} --port 8786 --http-port 9786" if command == "dscheduler" else command
                process = self.start(f"exec {self.moved(command)}")
            self.wait_listening("8786", process)
            self.wait_listening("9786", process)
        elif name == "center":
            self.start(self.moved("exec dcenter 127.0.0.1:8787 --no-http"))
            command = self.moved("exec dworker 127.0.0.1:8787 --no-nanny --nthreads 1 --no-http")
            self.wait_joined(*[self.start(command) for _ in range(2)])
        elif name:
            self.wait_listening("8888", self.start_python(name, ALL_EXAMPLES[page, name].code))

    def wait_said(self, process: subprocess.Popen[str], length: int) -> None:
        """Wait until `process` has printed so many characters, or has ended."""
        end = time.monotonic() + PATIENCE_S
        while process.poll() is None and len(self.said(process)) < length and time.monotonic() < end:
            time.sleep(0.02)

    def wait_listening(self, port: str, process: subprocess.Popen[str]) -> None:
        """Wait until somebody listens at a port of the page."""
        end = time.monotonic() + PATIENCE_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(self.moved(port)))) == 0:
                    return
            assert process.poll() is None, self.said(process)
            assert time.monotonic() < end, f"nobody listens: {self.said(process)}"
            time.sleep(0.02)

    def wait_joined(self, *workers: subprocess.Popen[str]) -> None:
        """Wait until these workers have joined."""
        end = time.monotonic() + PATIENCE_S
        for worker in workers:
            while "registered with" not in self.said(worker):
                assert worker.poll() is None and time.monotonic() < end, self.said(worker)
                time.sleep(0.02)

    def close(self) -> None:
        """End every process that is left, the gentle way first."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path)
    yield workshop
    workshop.close()


def check_output(wanted: str, got: str) -> None:
    assert doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS), f"wanted:\n{wanted}\ngot:\n{got}"


@pytest.mark.parametrize(
    ("page", "name"),
    [key for key in ALL_EXAMPLES if key not in BESIDE],
    ids=[f"{page.name}-{name}" for page, name in ALL_EXAMPLES if (page, name) not in BESIDE],
)
def test_an_example_prints_what_its_page_shows(workshop: Workshop, page: Path, name: str) -> None:
    example = ALL_EXAMPLES[page, name]
    workshop.start_beside(page, example.beside)
    process = workshop.start_python(name, example.code)
    if example.prints is not None and example.prints.endswith("\n...\n"):
        first = example.prints.removesuffix("...\n")
        workshop.wait_said(process, len(first))
        assert process.poll() is None, workshop.said(process)
        check_output(first, workshop.said(process)[: len(first)])
    else:
        assert process.wait(PATIENCE_S) == 0, workshop.said(process)
        if example.prints is not None:
            check_output(workshop.moved(example.prints), workshop.said(process))


@pytest.mark.parametrize("session", ALL_SESSIONS, ids=[f"{s.page.name}-{s.line}" for s in ALL_SESSIONS])
def test_a_console_session_goes_as_its_page_shows(workshop: Workshop, session: pages.Session) -> None:
    workshop.start_beside(session.page, session.beside)
    for command, output in session.commands:
        process = workshop.start(workshop.moved(command))
        status = process.wait(PATIENCE_S)
        assert status == 0, workshop.said(process)
        check_output(workshop.moved(output), workshop.said(process))


def test_the_quickstart_shows_the_cluster_that_its_examples_run_on() -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text()
    shown = re.findall(r"^\$ (dscheduler|dworker \S+)(?: &)?$", text, re.MULTILINE)
    assert tuple(shown[: len(CLUSTER)]) == CLUSTER
