"""`/cr/mutes/`: experts mute clients that are known to be bad, or one of their crashes, for a while.

The live page shows every visitor who muted what, why and until when, so the reason is redacted like any text
that leaves P5. Every mute, and every mute that is ended early, is in the audit.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.wrappers import Response as BaseResponse

from dqmsquare_cfg import Cluster
from storage.audit_log import Outcome
from storage.mutes import Mute, MuteSubject
from web import databases, query_args
from web.action_text import MUTE, UNMUTE
from web.control_room import csrf, guards, login
from web.control_room.services import services
from web.control_room.sessions import Expert
from web.errors import DatabaseUnavailable
from web.pages import live
from web.pages.live import LiveViewParams

bp = Blueprint("mutes", __name__)
guards.protect(bp)

_MAX_REASON_LENGTH = 200
# Durations that the form offers, by their number of hours.
_DURATIONS: Mapping[str, str] = {
    "1": "1 hour",
    "8": "8 hours (a shift)",
    "24": "1 day",
    "72": "3 days",
    "168": "1 week",
    "720": "30 days",
}


@dataclass(frozen=True, slots=True)
class ClusterMutes:
    """A cluster's mutes in force, and the subjects that can be muted in a run, each with a label."""

    in_force: Sequence[Mute]
    subjects: Mapping[MuteSubject, str]


@bp.get("/mutes/")
def page() -> BaseResponse:
    """Show the mutes of both clusters and their forms.

    `db`, `run` and `client` preselect a client, with `crash` a group of its crashes by its signature.
    """
    expert = guards.current_expert()
    if expert is None:
        return login.redirect_to_login("mutes")
    selected = query_args.page_cluster()
    run = query_args.integer("run", "run must be an integer")
    runs = {cluster: run if cluster is selected else None for cluster in Cluster}
    return Response(
        render_template(
            "control_room/mutes.html",
            cluster=None,
            expert=expert,
            runs=runs,
            clusters={cluster: _read(cluster, run) for cluster, run in runs.items()},
            selected_cluster=selected,
            selected_subject=MuteSubject(query_args.text("client") or "", query_args.text("crash")),
            durations=_DURATIONS,
            max_reason_length=_MAX_REASON_LENGTH,
        )
    )


@bp.post("/mutes/")
def mute() -> BaseResponse:
    """Mute a client of the form's run, or of the newest, by its `db`, `client`, `reason` and `hours`.

    `client` is a tag, or a tag and the signature of a group of crashes of the run, joined by a slash.
    """
    expert = guards.require_expert()
    csrf.require_token(expert)
    with _invalid_form_recorded(expert, MUTE):
        cluster, hours = _cluster(), _field("hours")
        subjects = {str(one): (one, label) for one, label in _subjects(cluster, _run()).items()}
        subject, label = subjects.get(_field("client"), (None, ""))
        if subject is None:
            raise BadRequest("client is not a client of this run, or not a crash of one.")
        if hours not in _DURATIONS:
            raise BadRequest(f"hours must be one of {', '.join(_DURATIONS)}.")
        reason = _reason()
    parameters = {**_audited(subject, label), "hours": hours, "reason": reason}
    with _recorded(expert, MUTE, cluster, parameters):
        services().mutes[cluster].mute(subject, reason, expert.username, timedelta(hours=int(hours)))
    return redirect(url_for("mutes.page", db=cluster), 303)


@bp.post("/mutes/end")
def unmute() -> BaseResponse:
    """End a mute early, by the form's `db` and `client`."""
    expert = guards.require_expert()
    csrf.require_token(expert)
    with _invalid_form_recorded(expert, UNMUTE):
        cluster = _cluster()
        in_force = {str(mute.subject): mute for mute in databases.uncached_reader(cluster).mutes.in_force()}
        ended = in_force.get(_field("client"))
        if ended is None:
            raise NotFound("This client or crash is not muted, or no longer.")
    with _recorded(expert, UNMUTE, cluster, _audited(ended.subject, ended.crash_title)):
        services().mutes[cluster].unmute(ended.subject)
    return redirect(url_for("mutes.page", db=cluster), 303)


def _read(cluster: Cluster, run: int | None) -> ClusterMutes | None:
    """The mutes of a cluster; `None` while its database is unavailable."""
    try:
        return ClusterMutes(databases.uncached_reader(cluster).mutes.in_force(), _subjects(cluster, run))
    except DatabaseUnavailable:
        return None


def _cluster() -> Cluster:
    try:
        return Cluster(_field("db"))
    except ValueError:
        raise BadRequest(f"db must be one of {', '.join(Cluster)}.") from None


def _run() -> int | None:
    given = _field("run") if "run" in request.form else ""
    run = query_args.parse_integer(given, minimum=0)
    if given and run is None:
        raise BadRequest("run must be an integer.")
    return run


def _reason() -> str:
    # Published on one line, so redacted and without line breaks. The length is checked before redaction, too,
    # which takes time.
    reason = " ".join(_field("reason").split())
    if 0 < len(reason) <= _MAX_REASON_LENGTH:
        reason = services().redact(reason)
        if len(reason) <= _MAX_REASON_LENGTH:
            return reason
    raise BadRequest(f"reason must have 1 to {_MAX_REASON_LENGTH} characters.")


def _field(name: str) -> str:
    values = request.form.getlist(name)
    if len(values) != 1:
        raise BadRequest(f"{name} must be given exactly once.")
    return values[0]


def _subjects(cluster: Cluster, run: int | None) -> Mapping[MuteSubject, str]:
    """The subjects that can be muted in a run, by default the newest, each with a label.

    These are its clients, missing ones included, by name, then the groups of their crashes, by title.
    """
    view = live.read_run(databases.stale_ok_reader(cluster), LiveViewParams(cluster, run))
    rows = sorted(view.rows, key=lambda row: row.name)
    crashes = {
        MuteSubject(row.client, crash.crash_group): group.title
        for row in rows
        for crash in row.crashes
        if (group := view.crash_groups.get(crash.crash_group or "")) is not None
    }
    return {MuteSubject(row.client): row.name for row in rows} | crashes


def _audited(subject: MuteSubject, label: str | None) -> Mapping[str, str]:
    """The parameters of the audit that name a subject."""
    if subject.crash_group is None:
        return {"client": subject.client}
    return {"client": subject.client, "crash_group": subject.crash_group, "crash": label or ""}


@contextmanager
def _invalid_form_recorded(expert: Expert, command: str) -> Iterator[None]:
    """Record in the audit that a form was refused for its content."""
    try:
        yield
    except (BadRequest, NotFound) as refusal:
        services().audit.record(expert.action(command), Outcome.REFUSED, refusal.description)
        raise


@contextmanager
def _recorded(
    expert: Expert, command: str, cluster: Cluster, parameters: Mapping[str, str]
) -> Iterator[None]:
    """Record an action in the audit before it is done, and its success after it."""
    action = replace(expert.action(command), cluster=cluster, parameters=parameters)
    entry = services().audit.begin(action, worker_id=None)
    services().audit.mark_sent(entry)
    yield
    services().audit.complete(entry, Outcome.OK, "Shown on every visitor's page.")
