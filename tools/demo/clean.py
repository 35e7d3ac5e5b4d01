"""Removal of the demo's data of this clone and user, for `make clean`."""

import shutil
import sys
from pathlib import Path

from tools.demo import data_dir

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Remove the data directory; exit status 1 while the demo is running."""
    folder = data_dir.path_for(_ROOT)
    if not folder.exists():
        return 0
    try:
        with data_dir.locked(folder):
            shutil.rmtree(folder)
    except data_dir.FolderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
