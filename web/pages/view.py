"""What a reader of the live page asks for; all of it stands in the address, so it lasts and can be sent."""

from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode
from uuid import UUID

from werkzeug.exceptions import BadRequest

from dqmsquare_cfg import Cluster
from web import query_args
from web.pages.delivery_graph import FileTime
from web.pages.job_table import ClientState, Column, Order

# More than a screen holds; an address may not make the server read every job's details.
MOST_OPENED = 8
_LONGEST_WORDS = 200
_LONGEST_HIDDEN = 2000
USUAL_ORDER = Order(Column.STATE)


@dataclass(frozen=True, slots=True)
class View:
    """A cluster, a run (`None`: the newest, whichever it is), and how its jobs and graphs are shown.

    `streams_hidden` are names by commas; scripts draw the graphs, the server only carries them along.
    """

    cluster: Cluster
    run: int | None = None
    order: Order = USUAL_ORDER
    states: tuple[ClientState, ...] = ()
    words: str = ""
    opened: tuple[UUID, ...] = ()
    time_of_delivery: FileTime = FileTime.MODIFIED
    streams_hidden: str = ""

    @property
    def follows(self) -> bool:
        """Whether the page goes on to the next run by itself."""
        return self.run is None

    @property
    def is_filtered(self) -> bool:
        """Whether rows may be hidden."""
        return bool(self.states or self.words)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The parameters of the view's address, without what is as usual."""
        pairs = (
            ("db", self.cluster, None),
            ("run", self.run, None),
            ("sort", str(self.order), str(USUAL_ORDER)),
            ("state", ",".join(self.states), ""),
            ("q", self.words, ""),
            ("job", ",".join(map(str, self.opened)), ""),
            ("time", self.time_of_delivery, FileTime.MODIFIED),
            ("hide", self.streams_hidden, ""),
        )
        return [(name, str(value)) for name, value, usual in pairs if value != usual]

    @property
    def query(self) -> str:
        """The query of the view's address."""
        return urlencode(self.pairs)

    @property
    def pairs_without_words(self) -> list[tuple[str, str]]:
        """What a form that asks for the words carries along."""
        return self.but(words="").pairs

    def but(self, **changes: Any) -> Self:
        """The view with some of it changed."""
        return replace(self, **changes)

    def of_run(self, run: int | None) -> Self:
        """The same view of another run; jobs that are open belong to this one."""
        return replace(self, run=run, opened=())

    def ordered_by(self, column: Column) -> Self:
        """The view after a click on a column's head: ordered by it, or by it the other way round."""
        is_again = self.order.column is column
        return replace(self, order=Order(column, is_descending=is_again and not self.order.is_descending))

    def toggling_state(self, state: ClientState) -> Self:
        """The view after a click on a state's count: that state alone, or all if it is alone already."""
        return replace(self, states=() if self.states == (state,) else (state,))

    def toggling_job(self, job: UUID) -> Self:
        """The view after a click on a job: opened, or closed if it is open."""
        if job in self.opened:
            return replace(self, opened=tuple(other for other in self.opened if other != job))
        return replace(self, opened=(*self.opened, job)[-MOST_OPENED:])


def of_request() -> View:
    """The view that a request asks for. Raises BadRequest with what is accepted."""
    return View(
        cluster=query_args.shown_cluster(),
        run=query_args.integer("run", "run must be an integer"),
        order=_order(query_args.text("sort")),
        states=_states(query_args.text("state")),
        words=(query_args.text("q") or "")[:_LONGEST_WORDS],
        opened=_jobs(query_args.text("job")),
        time_of_delivery=_file_time(query_args.text("time")),
        streams_hidden=(query_args.text("hide") or "")[:_LONGEST_HIDDEN],
    )


def _order(given: str | None) -> Order:
    if given is None:
        return USUAL_ORDER
    try:
        return Order(Column(given.removeprefix("-")), is_descending=given.startswith("-"))
    except ValueError:
        raise BadRequest(
            f"sort must be one of {', '.join(Column)}, with a - before it to turn round"
        ) from None


def _states(given: str | None) -> tuple[ClientState, ...]:
    if given is None:
        return ()
    try:
        asked = {ClientState(state) for state in given.split(",")}
    except ValueError:
        raise BadRequest(f"state must be of {', '.join(ClientState)}, by commas") from None
    return tuple(state for state in ClientState if state in asked)


def _file_time(given: str | None) -> FileTime:
    try:
        return FileTime(given or FileTime.MODIFIED)
    except ValueError:
        raise BadRequest(f"time must be one of {', '.join(FileTime)}") from None


def _jobs(given: str | None) -> tuple[UUID, ...]:
    if given is None:
        return ()
    try:
        jobs = [UUID(job) for job in given.split(",")[:MOST_OPENED]]
    except ValueError:
        raise BadRequest("job must be ids of jobs, by commas") from None
    return tuple(dict.fromkeys(jobs))
