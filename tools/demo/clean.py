"""Removes what the demo of this clone keeps for this user: a part of `make clean`."""

import shutil
import sys
from pathlib import Path

from tools.demo import data_dir

_CLONE = Path(__file__).resolve().parents[2]


def main() -> int:
    """Removes the demo's folder, if there is one; exit status 1 while the demo runs."""
    folder = data_dir.of_clone(_CLONE)
    if not folder.exists():
        return 0
    try:
        with data_dir.held(folder):
            shutil.rmtree(folder)
    except data_dir.FolderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
