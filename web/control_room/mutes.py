"""`/cr/mutes/`: experts mute clients that are known to be bad, with a reason and an end.

Everybody sees who muted what, why and until when on the live page; so the reason is redacted like any text
that leaves P5. Each mute, and each that is ended early, stands in the audit.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.wrappers import Response as BaseResponse

from dqmsquare_cfg import Cluster
from storage.audit_log import AuditedAction, Outcome
from web import databases, query_args
from web.control_room import csrf, login, redirect_targets, refusals, visitor
from web.control_room.refusals import MUTE, UNMUTE
from web.control_room.services import desk
from web.control_room.sessions import Expert
from web.pages import live_run
from web.pages.view import View

room = Blueprint("mutes", __name__)
refusals.guard(room)

LONGEST_REASON = 200
_RUN = re.compile(r"[0-9]{1,10}")
# For how long, by the number of hours that the form sends.
LASTS: Mapping[str, str] = {
    "1": "1 hour",
    "8": "8 hours, a shift",
    "24": "1 day",
    "72": "3 days",
    "168": "1 week",
    "720": "30 days",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a form asks to be muted, checked; `hours` is one of `LASTS`."""

    cluster: Cluster
    client: str
    reason: str
    hours: str


@room.get("/mutes/")
def page() -> BaseResponse:
    """What is muted in both clusters, and the forms that mute; `db`, `run` and `client` choose beforehand."""
    expert = visitor.expert()
    if expert is None:
        return login.refer(redirect_targets.goal(redirect_targets.MUTES))
    chosen = query_args.shown_cluster()
    run = query_args.integer("run", "run must be an integer")
    runs = {cluster: run if cluster is chosen else None for cluster in Cluster}
    return Response(
        render_template(
            "control_room/mutes.html",
            cluster=None,
            expert=expert,
            runs=runs,
            clients={cluster: _clients(cluster, run) for cluster, run in runs.items()},
            mutes={cluster: databases.uncached_reader(cluster).mutes() for cluster in Cluster},
            chosen_cluster=chosen,
            chosen_client=query_args.text("client"),
            lasts=LASTS,
            longest_reason=LONGEST_REASON,
        )
    )


@room.post("/mutes/")
def mute() -> BaseResponse:
    """Mutes a client of the form's run, or of the newest, by its `db`, `client`, `reason` and `hours`."""
    expert = visitor.signed_in()
    csrf.require_token(request, expert)
    with _refusal_recorded(expert, MUTE):
        asked = _asked()
    told = {"client": asked.client, "hours": asked.hours, "reason": asked.reason}
    with _recorded(expert, MUTE, asked.cluster, told):
        lasts = timedelta(hours=int(asked.hours))
        desk().mutes[asked.cluster].mute(asked.client, asked.reason, expert.person, lasts)
    return redirect(url_for("mutes.page", db=asked.cluster), 303)


@room.post("/mutes/end")
def end() -> BaseResponse:
    """Ends a mute early, by the form's `db` and `client`."""
    expert = visitor.signed_in()
    csrf.require_token(request, expert)
    with _refusal_recorded(expert, UNMUTE):
        cluster, client = _cluster(), _once("client")
        if client not in {mute.client for mute in databases.uncached_reader(cluster).mutes()}:
            raise NotFound("This client is not muted, or no longer.")
    with _recorded(expert, UNMUTE, cluster, {"client": client}):
        desk().mutes[cluster].unmute(client)
    return redirect(url_for("mutes.page", db=cluster), 303)


def _asked() -> Asked:
    """The form's wish. Raises BadRequest with a sentence that repeats nothing of it."""
    cluster, client, hours = _cluster(), _once("client"), _once("hours")
    if client not in _clients(cluster, _run()):
        raise BadRequest("client is none of this run.")
    if hours not in LASTS:
        raise BadRequest(f"hours must be one of {', '.join(LASTS)}.")
    return Asked(cluster, client, _reason(), hours)


def _cluster() -> Cluster:
    try:
        return Cluster(_once("db"))
    except ValueError:
        raise BadRequest(f"db must be one of {', '.join(Cluster)}.") from None


def _run() -> int | None:
    given = _once("run") if "run" in request.form else ""
    if given and (not _RUN.fullmatch(given) or int(given) > query_args.INT_MAX):
        raise BadRequest("run must be an integer.")
    return int(given) if given else None


def _reason() -> str:
    # One line, of which everybody may read all.
    reason = desk().redact(" ".join(_once("reason").split()))
    if not 0 < len(reason) <= LONGEST_REASON:
        raise BadRequest(f"reason must be given, in at most {LONGEST_REASON} characters.")
    return reason


def _once(name: str) -> str:
    values = request.form.getlist(name)
    if len(values) != 1:
        raise BadRequest(f"{name} must be given, and once.")
    return values[0]


def _clients(cluster: Cluster, run: int | None) -> Mapping[str, str]:
    """The clients of a run, or of the newest, by tag: their names, those that are missing included."""
    live = live_run.read(databases.stale_ok_reader(cluster), View(cluster, run))
    return {row.client: row.name for row in sorted(live.rows, key=lambda row: row.name)}


@contextmanager
def _refusal_recorded(expert: Expert, command: str) -> Iterator[None]:
    """What is refused within for its content stands in the audit, as other refusals do."""
    try:
        yield
    except (BadRequest, NotFound) as refusal:
        deed = AuditedAction(command, username=expert.person, cmsweb_login=expert.login, is_change=True)
        desk().audit.record(deed, Outcome.REFUSED, refusal.description)
        raise


@contextmanager
def _recorded(expert: Expert, command: str, cluster: Cluster, told: Mapping[str, str]) -> Iterator[None]:
    """What is done within stands in the audit before it is done, and that it was after."""
    deed = AuditedAction(
        command,
        username=expert.person,
        cmsweb_login=expert.login,
        is_change=True,
        cluster=cluster,
        parameters=told,
    )
    entry = desk().audit.begin(deed, desk=None)
    desk().audit.mark_sent(entry)
    yield
    desk().audit.complete(entry, Outcome.OK, "Everybody's page shows it.")
