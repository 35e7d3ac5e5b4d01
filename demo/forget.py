"""Removes what the demo of this clone keeps for this user: a part of `make clean`."""

import shutil
import sys
from pathlib import Path

from demo import private_folder

_CLONE = Path(__file__).resolve().parent.parent


def main() -> int:
    """Removes the demo's folder, if there is one; exit status 1 while the demo runs."""
    folder = private_folder.of_clone(_CLONE)
    if not folder.exists():
        return 0
    try:
        with private_folder.held(folder):
            shutil.rmtree(folder)
    except private_folder.FolderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
