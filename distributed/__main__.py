"""``python -m distributed``: see `distributed.cli.main`."""

from __future__ import annotations

from distributed.cli.main import main

if __name__ == "__main__":
    main(prog_name="python -m distributed")
