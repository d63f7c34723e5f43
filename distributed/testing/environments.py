"""What tests of environments are made of: packages without an index, and an offer served by any interpreter."""

from __future__ import annotations

import asyncio
import glob
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distributed.environments.interpreters import link_behind, look_at
from distributed.process.fresh import import_paths
from distributed.testing.processes import wait_until

__all__ = ["offer_of", "other_python", "write_wheel"]

MINORS = ("3.13", "3.12", "3.11")

OFFER = """
import sys
from distributed.log import log_to_stderr
from distributed.offers.forking import room_zygote

zygote = room_zygote()
from distributed.offers.serving import OfferOptions, serve_offer
from distributed.process.running import run_loop

log_to_stderr("INFO")
run_loop(serve_offer(OfferOptions(cores=1, port=0, folder=sys.argv[1], admits=None), zygote, 1.0))
"""


def write_wheel(folder: Path, name: str, version: str, modules: Mapping[str, str], requires: str = "") -> None:
    """A package that needs no building: `modules` are texts by path. `requires`: lines of its metadata."""
    info = f"{name}-{version}.dist-info"
    files = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@contextmanager
def offer_of(python: str, folder: Path, wheels: Path | None = None) -> Iterator[str]:
    """Address of an offer with one core that the interpreter at `python` serves, with all its folders in `folder`.

    Args:
        wheels: the only place where its installers look.
    """
    (folder / "offer.py").write_text(OFFER)
    said = folder / "said"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["XDG_CACHE_HOME"] = str(folder)
    if python == sys.executable:
        variables["PYTHONPATH"] = import_paths()
    if wheels is not None:
        links = str(wheels)
        variables |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": links, "UV_OFFLINE": "1", "UV_FIND_LINKS": links}
    with said.open("w") as output:
        process = subprocess.Popen(
            [python, "offer.py", str(folder)], cwd=folder, env=variables, stdout=output, stderr=output
        )  # fmt: skip

    def look() -> re.Match[str] | None:
        assert process.poll() is None, said.read_text()
        return re.search(r"lends .* at (\S+)", said.read_text())

    try:
        yield wait_until(look, said.read_text)[1]
    finally:
        process.terminate()
        process.wait(20)


def other_python(folder: Path) -> str | None:
    """An interpreter of another minor version that has this package, and what that imports as far as it runs there.

    Its environment is made at `folder`; None: this machine has one minor version only, on the PATH and of pyenv.
    """
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = next(filter(None, (_python_of(minor) for minor in MINORS if minor != own)), None)
    if base is None:
        return None
    subprocess.run([base, "-m", "venv", "--without-pip", str(folder)], check=True)
    places = asyncio.run(look_at(sys.executable, import_paths())).places
    link_behind(folder / "behind", places)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    (packages / "behind.pth").write_text(f"{folder / 'behind'}\n")
    return str(folder / "bin" / "python")


def _python_of(minor: str) -> str | None:
    installed = glob.glob(os.path.expanduser(f"~/.pyenv/versions/{minor}*/bin/python"))
    for python in filter(None, [shutil.which(f"python{minor}"), *installed]):
        if subprocess.run([python, "-c", "import ssl, venv"], capture_output=True).returncode == 0:
            return python
    return None
