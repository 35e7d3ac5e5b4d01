"""The files that settings name: one that can't be read is told by its setting, wherever it is needed.

All of them may be put there, or renewed, while a program runs, so that none is a reason to refuse to start.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dqmsquare_cfg import Settings

FileState = tuple[int, int, int]


class Unreadable(Exception):
    """A file is not there, or is not this user's to read: a sentence that names its setting alone."""


def of_way_in(settings: Settings) -> Mapping[str, Path]:
    """What a connection to DQM² is made of, by the settings that name it."""
    files = {
        "SERVER_GRID_CERT_PATH": settings.server_grid_cert_path,
        "SERVER_GRID_KEY_PATH": settings.server_grid_key_path,
    }
    if isinstance(settings.cmsweb_ca_path, Path):
        files["CMSWEB_CA_PATH"] = settings.cmsweb_ca_path
    return files


def of_control_room(settings: Settings) -> Mapping[str, Path]:
    """What the Control Room reads: the same, and what it knows CMSWEB's visitors by."""
    key_path = settings.cmsweb_hmac_path
    return {**of_way_in(settings), **({"CMSWEB_HMAC_PATH": key_path} if key_path else {})}


def states(files: Mapping[str, Path]) -> tuple[FileState, ...]:
    """What tells each file or folder from one that took its place. Raises Unreadable."""
    return tuple(_state(setting, path) for setting, path in files.items())


def unreadable(files: Mapping[str, Path]) -> Iterator[str]:
    """A sentence for each file that can't be read."""
    for setting, path in files.items():
        try:
            _state(setting, path)
        except Unreadable as error:
            yield str(error)


def _state(setting: str, path: Path) -> FileState:
    # Opened, for it may be there and another user's.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise Unreadable(f"{setting} can't be read: {error.strerror}") from error
    try:
        state = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return state.st_ino, state.st_mtime_ns, state.st_size
