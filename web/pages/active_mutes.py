"""Mutes that apply now; a response that depends on one expires at its end."""

from datetime import UTC, datetime

from storage.mutes import Mute
from storage.read_models import Run
from storage.reader import MirrorReader
from web.cache import dependencies


def read(reader: MirrorReader) -> list[Mute]:
    """The mutes in force, newest first."""
    now = datetime.now(UTC)
    mutes = [mute for mute in reader.mutes.in_force() if mute.ends_at > now]
    for mute in mutes:
        dependencies.expire_at(mute.ends_at)
    return mutes


def of_run(reader: MirrorReader, run: Run) -> list[Mute]:
    """The mutes in force, without those that were set after the end of the run."""
    return [mute for mute in read(reader) if _has_lasted_until(run, mute.muted_at)]


def _has_lasted_until(run: Run, at: datetime) -> bool:
    return run.is_ongoing or (run.updated_at is not None and run.updated_at >= at)
