"""Which files may be uploaded to workers, and under which names: the same rules at the client and at the worker."""

from __future__ import annotations

import re
import sys

from distributed.errors import BadRequestError

__all__ = ["ARCHIVES", "check_file_name"]

ARCHIVES = (".zip", ".egg", ".whl", ".pyz")  # go on `sys.path` as they are
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+ -]{0,199}"  # compiled when first used: most programs upload nothing


def check_file_name(name: str) -> None:
    """Whether a file of that name can be put beside others, in any folder of any system.

    Raises:
        BadRequestError: it is no plain name, or would take the place of a module that every worker needs.
    """
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise BadRequestError(
            f"{name!r:.200} cannot be uploaded: a name is 1 to 200 letters, digits and any of '_.+- ', no path"
        )
    module = name.removesuffix(".py")
    if name.endswith(".py") and (module in sys.stdlib_module_names or module in _OURS):
        raise BadRequestError(f"{name!r} cannot be uploaded: it would take the place of the module {module}; rename it")
    if name.endswith(".py") and not module.isidentifier():
        raise BadRequestError(f"{name!r} cannot be uploaded: {module!r} is no name that can be imported")


_OURS = frozenset({"distributed", "tornado", "msgpack", "cloudpickle", "psutil", "__main__", "__init__"})
