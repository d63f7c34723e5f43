"""What tests of rooms share: one house for all of them, and one room that most of them use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.rooms.room import Room
from distributed.testing.rooms import House, write_files

# What a user writes: a script with classes of its own, and modules beside it.
PROJECT = {
    "main.py": """
        import dataclasses, enum, os, sys, tempfile, threading, time
        from pathlib import Path

        import helpers
        from distributed import get_client, get_worker
        from distributed.rooms.entry import workspace_root
        from distributed.security.keys import keyring
        from helpers import Wrong

        CONFIG = Path("config.txt").read_text()
        STARTED = []

        @dataclasses.dataclass
        class Point:
            x: int
            class Kind(enum.Enum):
                ROUND = "round"

        class TooFar(Exception):
            def __init__(self, point, by):
                super().__init__(f"{point} is too far by {by}")
                self.point, self.by = point, by
            def __reduce__(self):
                return TooFar, (self.point, self.by)

        class Unpicklable(Exception):
            def __init__(self):
                super().__init__("holds a lock")
                self.lock = threading.Lock()

        def double(point):
            assert isinstance(point, Point)
            return Point(2 * point.x), Point.Kind.ROUND

        def too_far(point):
            raise TooFar(point, 3)

        def unpicklable():
            raise Unpicklable

        def unpicklable_result():
            return threading.Lock()

        def wrong():
            raise Wrong(7)

        def place():
            return os.getcwd(), os.listdir(), str(workspace_root()), CONFIG

        def write_and_meet(number, gate, count):
            before = os.listdir()
            Path("out").write_text(str(number))
            os.makedirs("deep/deeper")
            (workspace_root().parent / f"{gate}-{number}").touch()
            while len(list(workspace_root().parent.glob(f"{gate}-*"))) < count:
                time.sleep(0.002)
            return before, Path("out").read_text(), os.getcwd(), threading.get_ident()

        def generate(number):
            Path("out").write_text(str(number))
            yield Path("out").read_text()
            yield os.getcwd()

        def leave(how):
            if how == "removed":
                os.rmdir(os.getcwd())
            elif how == "elsewhere":
                os.chdir("/")
            elif how == "locked":
                os.mkdir("locked"); Path("locked/file").touch(); os.chmod("locked", 0); os.chmod(".", 0)
            elif how == "made and removed":
                Path("file").touch(); os.unlink("file")
            return how

        def nested(number):
            Path("parent").write_text("here")
            inner = get_client().submit(place, pure=False, workers=[get_worker().name]).result()
            return os.listdir(), inner, os.getcwd()

        def say(text):
            print(text)
            print(text.upper(), file=sys.stderr)

        def secrets():
            variables = {name for name in os.environ if name.startswith("DISTRIBUTED_")}
            main_file = getattr(sys.modules["__main__"], "__file__", None)
            return variables, os.environ["DISTRIBUTED_KEY_FILE"], keyring().fingerprint(), main_file

        def temporary():
            with tempfile.NamedTemporaryFile(delete=False) as file:
                return file.name

        def read_config():
            return Path("config.txt").read_text()

        def import_late():
            import no_such_module_anywhere

        def spin(started):
            Path("half").touch()
            (workspace_root().parent / started).touch()
            while True:
                pass

        def version():
            return helpers.VERSION

        if __name__ == "__main__":
            raise SystemExit("the guard was passed")
    """,
    "helpers.py": """
        VERSION = 1

        class Wrong(ValueError):
            def __init__(self, code):
                super().__init__(f"code {code}")
                self.code = code
            def __reduce__(self):
                return Wrong, (self.code,)
    """,
    "broken.py": "import no_such_package_anywhere",
    "raising.py": "raise KeyError('no home')",
    "config.txt": "from the workspace",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A scheduler with a key of its own."""
    with House(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of `room`."""
    folder = tmp_path_factory.mktemp("copy") / "workspace"
    write_files(folder, PROJECT)
    return folder


@pytest.fixture(scope="module")
def room(house: House, project: Path) -> Room:
    """A room with sixteen threads for `PROJECT`; it is called ``room``."""
    return house.open("room", str(project), entry="main", nthreads=16)
