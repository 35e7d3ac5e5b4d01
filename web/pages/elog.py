"""Text for the experiment's electronic logbook (e-log): a run in complete sentences.

It has nothing that depends on the clock: the browser adds the link, the age of the data and the time of
copying (`static/js/copy_run_summary.js`).
"""

from collections.abc import Iterator, Mapping, Sequence

from dqm2 import exit_codes
from dqmsquare_cfg import Cluster
from storage.client_rows import ClientRow, ClientState, count_by_state
from storage.crash_reader import CrashOccurrences
from storage.mutes import Mute
from storage.read_models import Job, Run
from web.pages import crash_text
from web.pages.formatting import datetime_tz

_SINGULAR, _PLURAL = 0, 1
# Predicates of one client and of several.
_PREDICATES: Mapping[ClientState, tuple[str, str]] = {
    ClientState.CRASHED: ("has crashed", "have crashed"),
    ClientState.STUCK: ("is stuck", "are stuck"),
    ClientState.LOST: ("is lost", "are lost"),
    ClientState.MISSING: ("is missing", "are missing"),
    ClientState.STARTING: ("is starting", "are starting"),
    ClientState.RUNNING: ("is running", "are running"),
    ClientState.FINISHED: ("has finished", "have finished"),
}


def text(
    cluster: Cluster,
    run: Run,
    rows: Sequence[ClientRow],
    crash_groups: Mapping[str, CrashOccurrences],
) -> str:
    """The text: the run, its clients by state, then an item per client with a problem, crash, lag or mute.

    `crash_groups` are by signature.
    """
    items = [f"- {' '.join(_client(row, run, crash_groups))}" for row in rows if _is_notable(row)]
    return "\n".join((" ".join(_run(cluster, run)), " ".join(_clients(rows)), *items))


def _is_notable(row: ClientRow) -> bool:
    return row.state.is_problem or row.is_behind or bool(row.crashes) or row.mute is not None


def _run(cluster: Cluster, run: Run) -> Iterator[str]:
    key = f"run key {run.run_key}" if run.run_key else "unknown run key"
    release = f"CMSSW_{run.cmssw_version}" if run.cmssw_version else "unknown CMSSW release"
    status = "is ongoing" if run.is_ongoing else "has ended"
    yield f"Run {run.run} of the {cluster} cluster ({key}, {release}) {status}."
    if run.started_at is not None:
        yield f"It started on {datetime_tz(run.started_at)}."
    if run.updated_at is not None:
        reached = f", and the newest lumisection (LS) was {run.lumisection}" if run.lumisection else ""
        yield f"The last report of a client is from {datetime_tz(run.updated_at)}{reached}."


def _clients(rows: Sequence[ClientRow]) -> Iterator[str]:
    counts = {state: number for state, number in count_by_state(rows).items() if number}
    if not counts:
        yield "No client has reported."
    elif len(rows) == 1:
        yield f"The only client {_PREDICATES[rows[0].state][_SINGULAR]}."
    elif len(counts) == 1:
        [state] = counts
        yield f"{'Both' if len(rows) == 2 else f'All {len(rows)}'} clients {_PREDICATES[state][_PLURAL]}."
    else:
        parts = [
            f"{number} {_PREDICATES[state][_PLURAL if number > 1 else _SINGULAR]}"
            for state, number in counts.items()
        ]
        yield f"Of {len(rows)} clients, {_enumeration(parts)}."
    restarted = sum(len(row.crashes) for row in rows) - counts.get(ClientState.CRASHED, 0)
    if restarted:
        jobs, were = ("jobs", "were") if restarted > 1 else ("job", "was")
        yield f"{restarted} {jobs} crashed and {were} restarted."


def _client(row: ClientRow, run: Run, crash_groups: Mapping[str, CrashOccurrences]) -> Iterator[str]:
    """The sentences about a client."""
    job = row.newest
    subject = "It" if row.crashes else row.name
    if row.crashes:
        yield _crash(row)
    if job is None:
        yield _without_job(row)
    elif job.exit_code is None and row.state.is_problem:
        # A full stop behind the label of a machine would seem to be part of it.
        reported = f"its last report, from {job.machine} on {datetime_tz(job.updated_at)}"
        yield f"{subject} is {row.state}: {reported}, was {_lumisection(job)}."
    elif row.is_behind:
        yield f"{subject} is running on {job.machine}, but {job.lag} LS behind, {_lumisection(job)}."
    elif not row.crashes:
        yield f"{row.name} {_PREDICATES[row.state][_SINGULAR]}."
    mute = row.mute
    if mute is not None and mute.subject.crash_group is None:
        yield _muted("It", mute)
    signatures = dict.fromkeys(crash.crash_group or "" for crash in row.crashes)
    groups = [crash_groups[signature] for signature in signatures if signature in crash_groups]
    for group in groups:
        yield _group(group, run, "This crash" if group is groups[0] else "An earlier, different crash")
    if mute is not None and mute.subject.crash_group is not None:
        yield _muted("Its last crash", mute)


def _crash(row: ClientRow) -> str:
    """The crashes of a client and what became of it, unless another sentence says that."""
    last, *earlier = row.crashes
    times = f" {len(row.crashes)} times, last" if earlier else ""
    code = exit_codes.describe(last.exit_code or 0)
    reason = crash_text.of_log(last.crash)
    why = (
        f": {reason} (exit code {code.code})" if reason else f", with exit code {code.code} ({code.meaning})"
    )
    if last is row.newest:
        after = "It has not been restarted since." if earlier else "It has not been restarted."
    elif row.state.is_problem or row.is_behind:
        after = "It was restarted."
    else:
        after = f"It was restarted and {_PREDICATES[row.state][_SINGULAR]}."
    place = f"{_lumisection(last)} on {last.machine}"
    return f"{row.name} crashed{times} on {datetime_tz(last.updated_at)} {place}{why}. {after}"


def _group(group: CrashOccurrences, run: Run, crash: str) -> str:
    """Whether a crash has been seen before."""
    title = group.title.rstrip(".")
    if group.since == run.run:
        return f"{crash} is new in this run ({title})."
    new = "is new in this release and " if group.is_new_in(run) else ""
    return f"{crash} {new}was seen in {group.runs} runs since run {group.since} ({title})."


def _muted(subject: str, mute: Mute) -> str:
    reason = mute.reason.rstrip(".")
    return f"{subject} is muted by {mute.username} until {datetime_tz(mute.ends_at)}: {reason}."


def _without_job(row: ClientRow) -> str:
    if row.state is ClientState.STARTING:
        return f"{row.name} is starting."
    previously = "had one in the previous run with this run key"
    return f"{row.name} is missing: it has no job in this run, but {previously}."


def _lumisection(job: Job) -> str:
    return f"at LS {job.lumisection}" if job.lumisection else "before its first LS"


def _enumeration(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
