"""``distributed grant``: whom offers of this user let in besides the user."""

from __future__ import annotations

import time
from pathlib import Path

import click

from distributed.errors import GrantError
from distributed.process.ending import guarded
from distributed.security.credentials import Credential
from distributed.security.grants import Grants
from distributed.units import parse_seconds

__all__ = ["grant"]


@click.command()
@click.argument("name", required=False)
@click.option("--expires", metavar="TIME", help="Let NAME in for that long, such as 30d or 8h. [default: for ever]")
@click.option("--output", type=click.Path(dir_okay=False), help="Where the credential goes. [default: NAME.credential]")
@click.option("--force", is_flag=True, help="Replace the grant and the file of that name: the old one counts no more.")
@click.option("--withdraw", metavar="NAME", help="Let NAME in no more; who is connected is cut off within seconds.")
@click.option("--list", "lists", is_flag=True, help="Show whom you let in.")
def grant(
    name: str | None, expires: str | None, output: str | None, force: bool, withdraw: str | None, lists: bool
) -> None:
    """Let another user use your offers (dworker --offer) as NAME.

    \b
    It writes a credential, a file that only you can read. Hand it over on a safe way; whoever has it is NAME, with
        setup(credential="NAME.credential", ...)      or      DISTRIBUTED_CREDENTIAL=NAME.credential
    It is not your key: who holds it can run tasks in your offers, and cannot use your clusters.
    """
    if [name is not None, withdraw is not None, lists].count(True) != 1:
        raise click.UsageError("give NAME, --withdraw NAME or --list, one of them")
    if name is None and (expires or output or force):
        raise click.UsageError("--expires, --output and --force are about a NAME to let in")

    def run() -> int:
        if lists:
            return _list()
        if withdraw is not None:
            Grants().withdraw(withdraw)
            print(f"withdrawn    {withdraw}")
            return 0
        assert name is not None
        return _make(name, expires, Path(output or f"{name}.credential"), force)

    guarded(run)


def _make(name: str, expires: str | None, output: Path, force: bool) -> int:
    expires_s = None if expires is None else parse_seconds(expires, "--expires")
    if output.exists() and not force:
        raise GrantError(name, f"{output} is there already; choose another --output, or --force to replace it")
    made = Grants().make(name, expires_s, force)
    try:
        made.save(output, replace=force)
    except OSError as error:
        Grants().withdraw(name)  # nobody has got it
        raise GrantError(name, f"{output} cannot be written: {error.strerror or error}") from None
    if Credential.load(output) != made:
        Grants().withdraw(name)
        raise GrantError(name, f"somebody else has written {output} just now")
    print(f"credential   {output}")
    print(f"name         {name}")
    print(f"expires      {_moment(None if expires_s is None else time.time() + expires_s)}")
    return 0


def _list() -> int:
    for each in Grants().all():
        print(f"{each.name:24s} made {_moment(each.made_unix_s)}   expires {_moment(each.expires_unix_s)}")
    return 0


def _moment(unix_s: float | None) -> str:
    return "never" if unix_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_s))
