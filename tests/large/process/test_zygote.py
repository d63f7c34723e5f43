"""The zygote: what becomes of its children, and of it."""

from __future__ import annotations

from distributed.testing.processes import Processes

FRAME = """
import asyncio, os, signal, subprocess, sys, time
from distributed.errors import WorkerStartError
from distributed.process.zygote import Zygote

def child(options, status, life):
    os.write(status, b"begun\\n")
    exec(options["code"], {**globals(), "status": status})

def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"

async def spawn(code):
    read, write = os.pipe()
    process = await zygote.spawn("child", {"code": code}, 2, write)
    os.close(write)
    assert await asyncio.to_thread(os.read, read, 6) == b"begun\\n"
    os.close(read)
    return process

async def ends(code):
    ending = await (await spawn(code)).ended
    return ending.cause

async def gone(pid):
    while alive(pid):
        await asyncio.sleep(0.01)

async def main():
    zygote.attach()
    await asyncio.wait_for(body(), 15)
    zygote.close()
    zygote.close()

zygote = Zygote({"child": child})
"""


def run(processes: Processes, body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    program = processes.python(
        "-X", "dev", "-W", "error", "-c", f"{FRAME}\nasync def body():\n{lines}\nasyncio.run(main())"
    )
    assert program.wait() == 0, program.said()
    processes.wait_nothing_left()
    return program.said()


def test_every_way_to_end_is_told(processes: Processes) -> None:
    said = run(processes, """
for code in ["pass", "sys.exit()", "sys.exit(3)", "sys.exit('text')", "os._exit(4)", "1 / 0", "os.kill(os.getpid(), 9)",
             "os.kill(os.getpid(), 40)", "raise KeyboardInterrupt"]:
    print(await ends(code), flush=True)
""")  # fmt: skip
    causes = [line for line in said.splitlines() if line.startswith(("exit code", "signal"))]
    assert causes == [
        *("exit code 0", "exit code 0", "exit code 3", "exit code 1", "exit code 4", "exit code 1", "signal SIGKILL"),
        *("signal 40", "exit code 1"),
    ]
    assert said.count("ZeroDivisionError: division by zero") == 1


def test_a_child_begins_with_a_clean_slate(processes: Processes) -> None:
    said = run(
        processes,
        """
code = "print(sys.stdin.read() == '', os.getpgid(0) == os.getpid(), os.get_inheritable(status), flush=True);"
code += "print([signal.getsignal(n) is signal.SIG_DFL for n in (2, 15, 17)], signal.set_wakeup_fd(-1), flush=True)"
print(await ends(code), flush=True)
""",
    )
    assert said == "True True False\n[True, True, True] -1\nexit code 0\n"


def test_with_a_child_ends_what_it_started(processes: Processes) -> None:
    said = run(
        processes,
        """
for end in ("os._exit(0)", "os.kill(os.getpid(), 9)"):
    print(await ends(f"p = subprocess.Popen(['sleep', '55']); {end}"))
child = await spawn("p = subprocess.Popen(['sleep', '56']); time.sleep(60)")
child.kill()
child.kill()
print((await child.ended).cause)
child.kill()
child.terminate()
while subprocess.run(["pgrep", "-s", str(os.getsid(0)), "sleep"], capture_output=True).stdout:
    await asyncio.sleep(0.01)
""",
    )
    assert said == "exit code 0\nsignal SIGKILL\nsignal SIGKILL\n"


def test_many_children_at_once(processes: Processes) -> None:
    said = run(
        processes,
        """
causes = await asyncio.gather(*(ends(f"os._exit({number})") for number in range(50)))
print(causes == [f"exit code {number}" for number in range(50)])
""",
    )
    assert said == "True\n"


def test_when_it_is_killed_its_children_end_and_nobody_can_be_forked(processes: Processes) -> None:
    said = run(
        processes,
        """
child = await spawn("time.sleep(60)")
os.kill(zygote.pid, signal.SIGKILL)
print((await child.ended).cause)
await gone(child.pid)
try:
    await spawn("pass")
except WorkerStartError as error:
    print(error)
""",
    )
    assert said.startswith("signal SIGKILL\nthe process that forks workers is gone: ")


def test_options_that_are_too_long_harm_nobody_else(processes: Processes) -> None:
    said = run(
        processes,
        """
try:
    await spawn("#" * 1_000_000)
except WorkerStartError as error:
    print("refused:", error, flush=True)
print(await ends("pass"), flush=True)
""",
    )
    assert "refused: a process of kind 'child' cannot be started: its options take 1,000," in said
    assert "exit code 0" in said


def test_a_signal_from_the_terminal_is_not_for_it(processes: Processes) -> None:
    said = run(
        processes,
        """
os.kill(zygote.pid, signal.SIGINT)
os.kill(zygote.pid, signal.SIGTERM)
print(await ends("pass"))
""",
    )
    assert said == "exit code 0\n"


def test_one_who_no_longer_waits_gets_no_child(processes: Processes) -> None:
    said = run(
        processes,
        """
waiting = asyncio.ensure_future(spawn("time.sleep(60)"))
await asyncio.sleep(0)
waiting.cancel()
print(await ends("pass"))
while subprocess.run(["pgrep", "-P", str(zygote.pid)], capture_output=True).stdout:
    await asyncio.sleep(0.01)
""",
    )
    assert said == "exit code 0\n"


def test_what_children_run_may_be_named_and_is_imported_once_if_it_is_to_be(processes: Processes) -> None:
    for name in ("children", "others"):
        (processes.folder / f"{name}.py").write_text(
            "import os\n"
            "loaded_by = os.getpid()\n"
            "def child(options, status, life):\n"
            "    print(options['name'], 'itself' if loaded_by == os.getpid() else 'before', flush=True)\n"
        )
    program = processes.python(
        "-c",
        f"""
import asyncio, os, sys
sys.path.insert(0, {str(processes.folder)!r})
from distributed.process.zygote import Zygote

zygote = Zygote({{"early": "others:child", "late": "children:child"}}, preload=["late"])
asked = zygote.request("early", {{"name": "early"}}, 2, 1)  # before there is a loop

async def main():
    zygote.attach()
    print((await (await zygote.started(asked)).ended).cause, flush=True)
    for _ in range(2):
        print((await (await zygote.spawn("late", {{"name": "late"}}, 2, 1)).ended).cause, flush=True)
    zygote.close()

asyncio.run(main())
""",
    )
    assert program.wait() == 0, program.said()
    assert program.said().split("\n")[:6] == [
        *("early itself", "exit code 0", "late before", "exit code 0", "late before", "exit code 0")
    ]
    processes.wait_nothing_left()
