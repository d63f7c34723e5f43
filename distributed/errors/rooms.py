"""What is wrong when a room loads code that travelled by name."""

from __future__ import annotations

from distributed.errors.base import DistributedError
from distributed.errors.tasks import FunctionLoadError

__all__ = ["ModuleFailedError", "ModuleMissingError", "NameMissingError"]


class ModuleMissingError(FunctionLoadError):
    """A module that the Main has is not in the room: name what provides it in ``requirements=``, or include its file.

    Attributes:
        module: what was to be imported.
        missing: what was not found, `module` itself or something that it imports.
    """

    def __init__(self, module: str, missing: str, where: str) -> None:
        self.name, self.worker, self.reason = module, where, f"there is no module {missing}"
        self.module = module
        self.missing = missing
        what = "it is" if module == missing else f"it needs {missing}, which is"
        DistributedError.__init__(
            self,
            f"the module {module} cannot be imported in {where}: {what} not there; name the package that "
            "provides it in requirements=, or, if it is a file of the project, see that no ignore file leaves it out "
            "(include=)",
        )


class ModuleFailedError(FunctionLoadError):
    """A module raised when a room imported it: what only the Main is to do goes below ``if __name__ == "__main__"``."""

    def __init__(self, module: str, reason: str, where: str) -> None:
        self.name, self.worker, self.reason = module, where, reason
        self.module = module
        DistributedError.__init__(
            self,
            f"the module {module} cannot be imported in {where}: {reason}; what only the main program is to do "
            'goes below its line if __name__ == "__main__":',
        )


class NameMissingError(FunctionLoadError):
    """A function or class is not in its module when a room imports that: define it where every import passes."""

    def __init__(self, module: str, qualname: str) -> None:
        self.name, self.worker, self.reason = f"{module}.{qualname}", "", "the module has no such name"
        self.module = module
        self.qualname = qualname
        DistributedError.__init__(
            self,
            f"{module} has no {qualname} when a room imports it: define it at the top level of the module, under the "
            "name that it has, whatever machine that is",
        )
