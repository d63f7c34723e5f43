"""Checks the source against the rules of CONVENTIONS.md and ARCHITECTURE.md that a program can see.

Run as ``python -m distributed.testing.tidy [ROOT]``; one line per fault, exit status 1 if there is any. What is *not*
here: formatting, names and types, which are ruff's and mypy's.

Rules: imports are absolute, stand at the top and point up the layer list, without circles · the pure parts import
nothing that waits, reads a clock or draws a number · sizes of files and functions · docstrings of public names · no
handler that hides errors · no sleep in a test · no note without an issue.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["LAYERS", "find_faults", "main"]

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60  # a screen, its docstring not counted

FOLDERS = ("distributed", "tests", "benchmarks", "examples", "docs", "continuous_integration")

# ARCHITECTURE.md, "Folders, in import order": a file imports only from layers above its own, or from its own folder.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("units",),
    ("ids",),
    ("log",),
    ("why",),
    ("lazy",),
    ("dataclass",),
    ("versions",),
    ("protocol",),
    ("constants",),
    ("config",),
    ("ledger",),
    ("allowance",),
    ("uploads",),
    ("fields",),
    ("messages",),
    ("wire",),
    ("security",),
    ("comm",),
    ("endpoint",),
    ("driver",),
    ("calls",),
    ("core",),
    ("web",),
    ("workspace",),
    ("actors",),
    ("process",),
    ("environments",),
    ("scheduler",),
    ("worker",),
    ("nanny",),
    ("rooms",),
    ("offers",),
    ("client",),
    ("deploy",),
    ("crews",),
    ("recipes",),
    ("simple",),
    ("pull",),
    ("push",),
    ("manager",),
    ("faces",),
    ("multiprocessing",),
    ("cli",),
    ("__main__",),
    ("testing",),
    (
        "lock",
        "center",
        "pool",
        "cluster",
        "http",
        "utils",
        "utils_test",
        "__init__",
    ),  # thin doors, where people look for us
)

# Third-party modules that a function may import: absent or too slow for everyone to pay at import.
LAZY_PACKAGES = {
    "cloudpickle": "20 ms of import; only whoever pickles a function needs it",
    "prometheus_client": "60 ms of import; only a server that is asked for metrics needs it",
    "uvloop": "optional, extra [fast]",
    "cryptography": "optional, extra [tls]; only minting a certificate needs it",
    "importlib": "importlib.metadata takes 20 ms; only whoever asks for the versions of packages needs it",
    "datetime": "1 ms of import; only minting a certificate needs it",
    "ctypes": "3 ms of import; only who shares memory with a process of this machine needs it",
    "numpy": "optional; tests and converters of arrays only",
    "IPython": "absent outside of notebooks",
    "difflib": "3 ms of import; only a mistake in a configuration needs it",
    "tqdm": "only a terminal that shows a bar needs it",
    "tornado": "50 ms of import; only with a loop or stream of Tornado's at hand",
    "platform": "2 ms of import; only systems without uname need it",
    "psutil": "10 ms of import; only servers need it",
    "zipfile": "8 ms of import; only a worker that is given an archive needs it",
}
# Modules of ours that a function of the named file may import although the layer list or speed speaks against it.
LAZY_MODULES: dict[tuple[str, str], str] = {
    ("calls", "comm.tornado_stream"): "imports tornado, see LAZY_PACKAGES",
    ("deploy.local", "deploy.threads"): "imports all servers, which only processes=False wants in this process",
    ("deploy.host", "deploy.hosting"): "imported while other processes, forked before, import theirs",
    ("cli.dworker", "cli.lending"): "60 ms of import, which a worker that lends nothing does not need",
    ("offers.process", "offers.serving"): "imported while the zygote imports what rooms need",
    ("scheduler.server", "scheduler.http"): "imports tornado, see LAZY_PACKAGES",
    ("worker.server", "worker.http"): "likewise",
    ("faces.decorator", "crews"): "70 modules that only a Main needs; every room imports the decorator",
    ("client", "client.executor"): "only a program that asks for an executor needs it",
    ("client", "client.html"): "3 ms of import; only notebooks show it",
    ("deploy", "client.html"): "likewise",
    ("client", "client.progress"): "only who looks needs it",
    ("client", "deploy"): "Client() without an address starts a cluster of its own",
}

# Rule 1 of ARCHITECTURE.md: same start, events and times, same effects. Names of modules without "distributed.".
PURE = re.compile(
    "|".join(
        (
            r"dataclass|ledger|allowance|fields|wire",
            r"messages\..*|protocol\..*",
            r"scheduler\.(?!(server|http|process|proxy|sessions|ops|nannies|diagnosis|equipment_ops|dialling)$).*",
            r"worker\.(machine|events|effects|records|copies|equipping|printing|invariants|memory)",
            r"faces\.manager\.(pace|roster|wire)",
            r"offers\.(answers|crowding|wire|tenants|records|retirement|shares|status)",
            r"crews\.(matching|states)",
            r"environments\.spec",
            r"recipes\.(dispatch|leases|multipart|rates)|push\.(roster|statuses)",
            r"workspace\.(limits|manifest|patterns)",
        )
    )
)
IMPURE_IMPORTS = {
    *("asyncio", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal"),
    *("socket", "ssl", "subprocess", "tempfile", "threading", "time", "tornado", "urllib", "psutil"),
}
PURE_EXCEPTIONS = {("protocol.failure", "os"): "path arithmetic on file names in tracebacks, no file is touched"}

_NOTE = re.compile(r"\b(FIX" + r"ME\b|TO" + r"DO\b(?!\(#\d+\)))")
_BROAD = {"Exception", "BaseException"}


@dataclass(slots=True)
class _File:
    path: Path
    name: str  # relative to the root, with slashes
    text: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return self.name.split("/")[0]

    @property
    def module(self) -> str:
        """Dotted name below the package: ``worker.store``; empty for the package itself and for files outside it."""
        if self.folder != "distributed":
            return ""
        parts = self.name.removesuffix(".py").split("/")[1:]
        return ".".join(parts if parts == ["__init__"] or parts[-1] != "__init__" else parts[:-1])


_Fault = tuple[int, str]  # line, text


def find_faults(root: Path) -> list[str]:
    """All faults of the project at `root`, as ``file:line: text``, in order of file and line."""
    faults: list[tuple[str, int, str]] = []
    files: list[_File] = []
    for path in _paths(root):
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8")
        try:
            file = _File(path, name, text, ast.parse(text, name))
        except SyntaxError as error:
            faults.append((name, error.lineno or 1, f"is not Python: {error.msg}"))
            continue
        file.parents = {child: node for node in ast.walk(file.tree) for child in ast.iter_child_nodes(node)}
        files.append(file)
        faults += [(name, *fault) for rule in _RULES for fault in rule(file)]
    modules = {file.module: file for file in files if file.module}
    for file in modules.values():
        faults += [(file.name, *fault) for fault in _check_layers(file, modules)]
    faults += [
        (modules[circle[0]].name, 1, f"imports run in a circle: {' -> '.join(circle)}") for circle in _circles(modules)
    ]
    return [f"{name}:{line}: {text}" for name, line, text in sorted(set(faults))]


def _paths(root: Path) -> Iterator[Path]:
    yield from sorted(root.glob("*.py"))
    for folder in FOLDERS:
        yield from sorted((root / folder).rglob("*.py"))


# ---------------------------------------------------------------- one file at a time


def _check_size(file: _File) -> Iterator[_Fault]:
    count = file.text.count("\n")
    if count > FILE_LINES_MAX:
        yield FILE_LINES_MAX + 1, f"{count} lines; at most {FILE_LINES_MAX}: split it by subject"
    for node in ast.walk(file.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
            if lines > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name}: {lines} lines without docstring; at most {FUNCTION_LINES_MAX}"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return 0
    return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1


def _check_docstrings(file: _File) -> Iterator[_Fault]:
    if file.text.strip() and ast.get_docstring(file.tree) is None:
        yield 1, "a module begins with a docstring that names its subject"
    if file.folder == "distributed":
        yield from _missing_docstrings(file.tree.body, "")


def _missing_docstrings(body: Iterable[ast.stmt], owner: str) -> Iterator[_Fault]:
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
        if not decorators & {"overload", "setter", "override"} and ast.get_docstring(node) is None:
            yield node.lineno, f"{owner}{node.name} is public and has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _missing_docstrings(node.body, f"{node.name}.")


def _check_handlers(file: _File) -> Iterator[_Fault]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield node.lineno, "bare except: name what you expect"
            elif _is_broad(node.type) and all(isinstance(s, (ast.Pass, ast.Continue)) for s in node.body):
                yield node.lineno, "this handler hides our own bugs: name what you expect, and handle it"
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("suppress")
            and any(map(_is_broad, node.args))
        ):
            yield node.lineno, "suppress() of everything hides our own bugs: name what you expect"


def _is_broad(node: ast.expr) -> bool:
    nodes = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(isinstance(n, ast.Name) and n.id in _BROAD for n in nodes)


def _check_notes(file: _File) -> Iterator[_Fault]:
    for number, line in enumerate(file.text.splitlines(), 1):
        if found := _NOTE.search(line):
            yield number, f"{found[0]}: do it, or write it with an issue: TO" + "DO(#123)"


def _check_sleeps(file: _File) -> Iterator[_Fault]:
    """A test waits for a condition. A function inside a test that sleeps is a task, which may."""
    if file.folder != "tests":
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep"):
            function = _function_around(file, node)
            if function is not None and function.name.startswith("test_"):
                yield node.lineno, f"{function.name} sleeps: wait for the condition, or jump the clock"


def _function_around(file: _File, node: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    parent: ast.AST | None = node
    while parent := file.parents.get(parent) if parent is not None else None:
        if isinstance(parent, ast.Lambda):
            return None
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return parent
    return None


def _check_import_form(file: _File) -> Iterator[_Fault]:
    for node in ast.walk(file.tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and "TYPE_CHECKING" in (
            getattr(node, "id", ""),
            getattr(node, "attr", ""),
        ):
            yield node.lineno, "TYPE_CHECKING hides a circle: import at the top, or move what both need up"
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "relative import: write the whole name"
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            yield node.lineno, "import *: name what you use"
        if file.folder == "distributed" and _function_around(file, node) is not None:
            for target in _targets(node):
                if not _may_be_lazy(file, target):
                    yield node.lineno, f"import of {target} inside a function: at the top, or with a reason in tidy.py"


def _may_be_lazy(file: _File, target: str) -> bool:
    package, _, rest = target.partition(".")
    if package != "distributed":
        return package in LAZY_PACKAGES
    return any(_is_below(file.module, importer) and _is_below(rest, imported) for importer, imported in LAZY_MODULES)


def _is_below(module: str, parent: str) -> bool:
    return module == parent or module.startswith(f"{parent}.")


def _check_purity(file: _File) -> Iterator[_Fault]:
    if not PURE.fullmatch(file.module):
        return
    for node in ast.walk(file.tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for target in _targets(node):
                top = target.partition(".")[0]
                if top in IMPURE_IMPORTS and (file.module, top) not in PURE_EXCEPTIONS:
                    yield node.lineno, f"{target} in a pure module: time, chance and I/O come as arguments and effects"


_RULES: tuple[Callable[[_File], Iterator[_Fault]], ...] = (
    _check_size,
    _check_docstrings,
    _check_handlers,
    _check_notes,
    _check_sleeps,
    _check_import_form,
    _check_purity,
)


# ---------------------------------------------------------------- the package as a whole


def _targets(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Dotted names that a statement imports; of ``from a import b`` it is a.b, because b may be a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names] if node.module else []


def _imports(file: _File, modules: dict[str, _File]) -> Iterator[tuple[int, str]]:
    """Line and module of each import of ours at the top level of `file`."""
    for node in ast.walk(file.tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and _function_around(file, node) is None:
            for target in _targets(node):
                package, _, rest = target.partition(".")
                if package != "distributed":
                    continue
                while rest and rest not in modules:
                    rest = rest.rpartition(".")[0]
                yield node.lineno, rest or "__init__"


def _layer_of(module: str) -> int | None:
    top = module.partition(".")[0]
    return next((index for index, names in enumerate(LAYERS) if top in names), None)


def _check_layers(file: _File, modules: dict[str, _File]) -> Iterator[_Fault]:
    own = _layer_of(file.module)
    if own is None:
        yield 1, f"{file.module} has no place in the layer list of tidy.py and ARCHITECTURE.md"
        return
    for line, target in _imports(file, modules):
        layer = _layer_of(target)
        is_own_folder = target.partition(".")[0] == file.module.partition(".")[0]
        if layer is not None and layer >= own and not is_own_folder:
            yield line, f"imports {target}, which is not above {file.module} in the layer list"


def _circles(modules: dict[str, _File]) -> list[list[str]]:
    """Each circle of imports once, as the modules on it, the first repeated at the end."""
    imported = {
        name: sorted({target for _, target in _imports(file, modules) if target != name and target in modules})
        for name, file in modules.items()
    }
    circles: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            circles.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for target in imported[name]:
                visit(target, [*trail, name])
            done.add(name)

    for name in sorted(imported):
        visit(name, [])
    return circles


def main(arguments: list[str] | None = None) -> int:
    """Print the faults of the project at the given folder (the current one by default); 1 if there are any."""
    arguments = sys.argv[1:] if arguments is None else arguments
    faults = find_faults(Path(arguments[0] if arguments else ".").resolve())
    print("\n".join(faults) if faults else "tidy")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
