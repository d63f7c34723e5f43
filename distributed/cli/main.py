"""``python -m distributed``: hash a folder, call any server, show or export the key."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click

from distributed.calls import rpc
from distributed.cli.diagnosis import story, why
from distributed.cli.dstatus import status
from distributed.cli.grant import grant
from distributed.cli.offering import return_command, withdraw
from distributed.process.ending import guarded
from distributed.recipes.hashing import ALGORITHMS, hash_folder
from distributed.security.certificates import certificate_path, mint
from distributed.security.keys import key_path, keyring
from distributed.security.permissions import CLIENT, ROLES, WORKER
from distributed.web.tokens import token_of

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="distributed")
def main() -> None:
    """Run Python functions on many machines. Servers are started with dscheduler and dworker."""


main.add_command(why)
main.add_command(story)
main.add_command(grant)
main.add_command(withdraw)
main.add_command(return_command)
main.add_command(status, name="status")


@main.command(name="hash")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.option("--address", help="Scheduler of a running cluster. [default: start one here with two workers]")
@click.option("--scheduler-file", type=click.Path(dir_okay=False), help="Read the scheduler's address from this file.")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="sha1", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: SHA1SUMS and so on]")
@click.option(
    "--workers", "n_workers", type=click.IntRange(1), default=2, show_default=True, help="Of the one started here."
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def hash_command(
    folder: Path, address: str | None, scheduler_file: str | None, algorithm: str, output: Path | None, n_workers: int,
    quiet: bool,
) -> None:  # fmt: skip
    """Hash every regular file below DIR on the workers of a cluster.

    Writes what `sha1sum -c` (or its sister for another algorithm) reads, in the format of coreutils. Exit code 1 if a
    file could not be read; each one is named.
    """
    target = output or Path(f"{algorithm.upper()}SUMS")
    guarded(lambda: hash_folder(folder, target, algorithm, address, scheduler_file, n_workers, not quiet))


@main.command()
@click.argument("address")
@click.argument("op", default="ops")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds to wait for the answer.")
def call(address: str, op: str, arguments: tuple[str, ...], timeout: float) -> None:
    """Call OP of the server at ADDRESS and print its answer as JSON.

    \b
    VALUEs are JSON where they are JSON, else text:
        python -m distributed call tcp://127.0.0.1:8888 add x=1 y=2
        python -m distributed call tcp://127.0.0.1:8786            # what it can do
    """
    keywords: dict[str, Any] = {}
    for argument in arguments:
        name, separator, text = argument.partition("=")
        if not separator:
            raise click.UsageError(f"{argument!r}: write NAME=VALUE")
        try:
            keywords[name] = json.loads(text)
        except ValueError:
            keywords[name] = text

    async def ask() -> int:
        async with rpc(address) as server, asyncio.timeout(timeout):
            answer = await server.call(op, **keywords)
        print(answer if isinstance(answer, str) else json.dumps(answer, indent=2, default=_as_text))
        return 0

    def run() -> int:
        try:
            return asyncio.run(ask())
        except Exception as error:  # the boundary: whatever the handler over there raised
            if isinstance(error, TimeoutError) and not str(error):
                print(f"error: no answer within {timeout:g} s", file=sys.stderr)
            else:
                print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
            return 1

    guarded(run)


@main.command()
@click.option("--role", type=click.Choice(ROLES), help="Print the key of this role only, to be a key file elsewhere.")
@click.option("--http", is_flag=True, help="Print the token that HTTP servers ask for; with --role, that role's.")
@click.option("--tls", is_flag=True, help="The certificate instead: show it; mint it if there is none yet.")
@click.option("--force", is_flag=True, help="With --tls: replace the certificate that is there.")
def key(role: str | None, http: bool, tls: bool, force: bool) -> None:
    """Show where this user's key is and a fingerprint to compare it by; make it if there is none yet.

    With --tls it is about the certificate that encrypted connections need. Copy both files to every machine.
    """
    if (force and not tls) or (tls and (http or role is not None)):
        raise click.UsageError("--tls goes alone or with --force, --role alone or with --http")

    def run() -> int:
        if tls:
            minted = mint(certificate_path(), replace=force)
            print(f"file         {minted.path}")
            for fingerprint in minted.fingerprints:
                print(f"fingerprint  {fingerprint}")
            return 0
        keys = keyring()
        if role is not None:
            if role not in keys.key_by_role:
                print(f"error: the key file here holds no key for role {role!r}", file=sys.stderr)
                return 1
            print(token_of(keys, role) if http else f"{role}:{keys.key_by_role[role].hex()}")
            return 0
        if http:
            print(token_of(keys, CLIENT, WORKER))
            return 0
        print(f"file         {key_path()}")
        print(f"fingerprint  {keys.fingerprint()}")
        print(f"roles        {', '.join(keys.key_by_role)}")
        return 0

    guarded(run)


def _as_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
