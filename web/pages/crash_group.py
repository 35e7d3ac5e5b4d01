"""The page of a group of crashes, `/crashes/<signature>`: what its jobs have in common, its runs, a log."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, render_template
from werkzeug.exceptions import NotFound

from dqm2 import crash_signatures, log_messages
from storage.client_names import client_name
from storage.crash_groups import CrashGroup
from storage.crash_reader import CrashedJob, CrashGroupOutline
from storage.mutes import Mute, MuteSubject, mute_of_client
from storage.reader import MirrorReader
from web import databases, query_args
from web.cache import dependencies
from web.pages import active_mutes, crash_issue, crash_text, freshness, log_search
from web.pages.crash_issue import Excerpt
from web.responses import etag_response

bp = Blueprint("crash_group", __name__, url_prefix="/crashes")

# Newest jobs that are compared with each other.
_MAX_JOBS = 200
# Newest jobs whose logs are searched.
_MAX_LOGS = 3
_LINES_BEFORE, _LINES_AFTER = 3, 24
_MAX_OTHERS = 11


@dataclass(frozen=True, slots=True)
class InCommon:
    """Traits shared by the newest jobs of a group; machines and exit codes are the most frequent first.

    `lumisections` are the lowest and the highest; `None` if no job reached any.
    """

    jobs: int
    machines: tuple[tuple[str, int], ...]
    exit_codes: tuple[int, ...]
    lumisections: tuple[int, int] | None


@bp.get("/<signature>")
@dependencies.cached_view
def page(signature: str) -> Response:
    """The complete page."""
    cluster = query_args.page_cluster()
    reader = databases.stale_ok_reader(cluster)
    found = reader.crashes.group(signature) if crash_signatures.SIGNATURE.fullmatch(signature) else None
    if found is None or not found.groups:
        raise NotFound(f"The {cluster} cluster has no crash with this id.")
    [summary] = found.groups
    jobs = reader.crashes.jobs(signature, _MAX_JOBS)
    client_runs = reader.crashes.client_run_count(summary.group.client, summary.since)
    in_common = _in_common(jobs)
    excerpt = _excerpt(reader, jobs)
    return etag_response(
        render_template(
            "crashes/group_page.html",
            cluster=cluster,
            summary=summary,
            recent_runs=found.recent_runs,
            jobs=jobs,
            client=client_name(summary.group.client),
            client_runs=client_runs,
            in_common=in_common,
            excerpt=excerpt,
            others=_others(reader, summary.group),
            kind=crash_text.KINDS[summary.group.kind],
            mute=_mute(reader, summary.group),
            issue=crash_issue.markdown(cluster, summary, client_runs, in_common.machines, excerpt),
            **freshness.template_context(cluster),
        )
    )


def _mute(reader: MirrorReader, group: CrashGroup) -> Mute | None:
    """The mute of the group, or of its client."""
    mutes = active_mutes.read(reader)
    of_group = MuteSubject(group.client, group.signature)
    return mute_of_client(group.client, mutes) or next(
        (one for one in mutes if one.subject == of_group), None
    )


def _in_common(jobs: Sequence[CrashedJob]) -> InCommon:
    reached = [job.lumisection for job in jobs if job.lumisection]
    return InCommon(
        jobs=len(jobs),
        machines=tuple(Counter(job.machine for job in jobs).most_common()),
        exit_codes=tuple(code for code, _ in Counter(job.exit_code for job in jobs).most_common()),
        lumisections=(min(reached), max(reached)) if reached else None,
    )


def _excerpt(reader: MirrorReader, jobs: Sequence[CrashedJob]) -> Excerpt | None:
    """The part of a log that says why the newest job crashed whose log is stored."""
    explained = [job for job in jobs if job.crash is not None and job.crash.line is not None]
    for job in explained[:_MAX_LOGS]:
        log = reader.jobs.log(job.id)
        if log is None or job.crash is None or job.crash.line is None:
            continue
        lines = log_messages.full_text(log).split("\n")
        first = max(1, job.crash.line - _LINES_BEFORE)
        text = "\n".join(lines[first - 1 : job.crash.line + _LINES_AFTER]).rstrip()
        if text:
            reason = log_search.line_of_reason(lines, job.crash)
            return Excerpt(job.id, job.run, first, job.crash.line, text, reason)
    return None


def _others(reader: MirrorReader, group: CrashGroup) -> list[CrashGroupOutline]:
    """Other groups of the client, the last to occur first."""
    found = reader.crashes.groups_of_client(client_name(group.client), _MAX_OTHERS)
    return [other for other in found if other.group.signature != group.signature]
