"""What the live page shows of a run, put together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from storage.mutes import Mute
from storage.read_models import AdjacentRuns, JobDetails, Playback, Run
from storage.reader import MirrorReader
from web.cache import dependencies
from web.pages.job_table import ClientRow, ClientState, client_rows, count, matches, ordered
from web.pages.view import View


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run as a view shows it. `number` is `None` if nothing is mirrored yet, `run` if nothing of that run.

    `rows` holds all clients in the view's order; `shows` tells which of them pass its filter; `mutes` are by
    the client's tag.
    """

    view: View
    number: int | None
    newest: int | None
    neighbours: AdjacentRuns
    run: Run | None
    playback: Playback | None
    rows: tuple[ClientRow, ...]
    counts: Mapping[ClientState, int]
    mutes: Mapping[str, Mute]
    opened: Mapping[UUID, JobDetails]
    delivery_version: str

    @property
    def is_newest(self) -> bool:
        """Whether this is the newest run there is."""
        return self.number == self.newest

    @property
    def is_ongoing(self) -> bool:
        """Whether jobs of the run are reported to run."""
        return self.run is not None and self.run.is_ongoing

    @property
    def problems(self) -> int:
        """How many clients somebody should look at: those that an expert has muted are known."""
        return sum(row.state.is_problem and row.client not in self.mutes for row in self.rows)

    @property
    def known_problems(self) -> int:
        """How many clients are bad, as is known: they are muted."""
        return sum(row.state.is_problem and row.client in self.mutes for row in self.rows)

    @property
    def behind(self) -> int:
        """How many clients run, but far behind the newest lumisection."""
        return sum(row.is_behind for row in self.rows)

    @property
    def shown(self) -> int:
        """How many clients pass the filter."""
        return sum(map(self.shows, self.rows))

    def shows(self, row: ClientRow) -> bool:
        """Whether a row passes the view's filter."""
        return matches(row, self.view.states, self.view.words)


def read(reader: MirrorReader, view: View) -> LiveRun:
    """The run that a view asks for, or the newest, with all that is shown of it."""
    newest = reader.run_span().highest
    number = newest if view.run is None else view.run
    run = None if number is None else reader.run(number)
    rows = () if run is None else tuple(ordered(client_rows(run, _expected(reader, run)), view.order))
    opened = () if run is None else _details(reader, view, run)
    delivered_at = None if number is None else reader.delivery_updated_at(number)
    return LiveRun(
        view=view,
        number=number,
        newest=newest,
        neighbours=AdjacentRuns(None, None) if number is None else reader.adjacent_runs(number),
        run=run,
        playback=None if number is None else reader.playback(number),
        rows=rows,
        counts=count(rows),
        mutes=_mutes(reader),
        opened={details.job.id: details for details in opened},
        delivery_version="" if delivered_at is None else delivered_at.isoformat(),
    )


def _expected(reader: MirrorReader, run: Run) -> frozenset[str]:
    """The clients that the run should have: those of the last one with the same key."""
    if run.run_key is None or not run.jobs:
        return frozenset()
    return reader.expected_clients(run.run, run.run_key)


def _mutes(reader: MirrorReader) -> dict[str, Mute]:
    now = datetime.now(UTC)
    mutes = [mute for mute in reader.mutes() if mute.ends_at > now]
    for mute in mutes:
        dependencies.expire_at(mute.ends_at)
    return {mute.client: mute for mute in mutes}


def _details(reader: MirrorReader, view: View, run: Run) -> list[JobDetails]:
    asked = [job.id for job in run.jobs if job.id in view.opened]
    return [details for job in asked if (details := reader.job_details(job)) is not None]
