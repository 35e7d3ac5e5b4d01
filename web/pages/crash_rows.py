"""The rows of the tables of crashes as HTML: a page has up to 200, and a template takes five times as long.

The columns are those of the template, which has their heads (`templates/_responsive_table.html`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from flask import Flask
from markupsafe import Markup, escape

from dqmsquare_cfg import Cluster
from storage.crash_groups import CrashGroup
from storage.crash_marks import CrashMark
from storage.crash_reader import CrashedJob, CrashGroupSummary, FoundCrashGroups
from storage.mutes import Mute
from web.pages import crash_text, markup, page_urls
from web.pages.formatting import DASH, datetime_tz, number

_MEANINGS: Mapping[CrashMark, str] = {
    CrashMark.NEW: "First seen in the newest run, or with its release",
    CrashMark.REGRESSION: (
        "Back in the release of its last run, after a release in which the client ran without it"
    ),
    CrashMark.ALWAYS: "In at least nine of the last ten runs of the client",
    CrashMark.EXPECTED: "Its last ten runs had no lumisection",
}
_MARKS = {
    mark: f'<span class="crash-mark crash-mark-{mark}" title="{meaning}">{mark}</span> '
    for mark, meaning in _MEANINGS.items()
}

# The head of each column, and its kind if it has one.
_Columns = Mapping[str, Mapping[str, str]]
# Mutes by client (tag) and signature, which is `None` for a whole client.
_Mutes = Mapping[tuple[str, str | None], Mute]


def init_app(app: Flask) -> None:
    """Register the functions of this module as template filters."""
    app.jinja_env.filters.update(crash_marks=marks, crash_group_rows=group_rows, crashed_job_rows=job_rows)


def marks(names: Iterable[CrashMark]) -> Markup:
    """Marks of a group of crashes, each with its meaning and a blank behind it."""
    return _markup("".join(_MARKS[name] for name in names))


def group_rows(found: FoundCrashGroups, columns: _Columns, cluster: Cluster, mutes: _Mutes) -> Markup:
    """A row for each group: its title, the bars of the newest runs, its runs, jobs, releases and run keys."""
    starts = _cell_starts(columns)
    run_url, group_url = page_urls.run_urls(cluster), page_urls.crash_group_urls(cluster)

    def cells(group: CrashGroupSummary) -> Iterator[object]:
        yield markup.crash_bars(group.recent, found.recent_runs)
        yield _run(group.since, run_url)
        yield _run(group.last_run, run_url)
        yield number(group.runs)
        yield number(group.jobs)
        yield markup.first_of(group.releases)
        yield markup.first_of(group.run_keys)

    def title(summary: CrashGroupSummary) -> str:
        group = summary.group
        link = f'<a href="{group_url(group.signature)}">{escape(group.title)}</a>'
        return f'<th scope="row" class="crash-title">{marks(summary.marks)}{_mute(group, mutes)}{link}</th>'

    return _markup("".join(_row(title(group), starts, cells(group)) for group in found.groups))


def job_rows(jobs: Sequence[CrashedJob], columns: _Columns, cluster: Cluster) -> Markup:
    """A row for each job: its run with release and run key, machine, LS, exit code, last report, log."""
    starts = _cell_starts(columns)
    run_url, job_url = page_urls.run_urls(cluster), page_urls.job_urls(cluster)

    def cells(index: int, job: CrashedJob) -> Iterator[object]:
        yield markup.release(job.cmssw_version)
        yield escape(job.run_key or DASH)
        yield escape(job.machine)
        yield number(job.lumisection)
        yield job.exit_code
        yield markup.full_time(job.updated_at)
        url, name = job_url(job.id), f" of run {job.run}, job {index}"
        anchor = crash_text.anchor(job.crash)
        yield f'<a href="{url}#{anchor}">log<span class="visually-hidden">{name}</span></a>'

    return _markup(
        "".join(
            _row(f'<th scope="row">{_run(job.run, run_url)}</th>', starts, cells(index, job))
            for index, job in enumerate(jobs, start=1)
        )
    )


def _cell_starts(columns: _Columns) -> list[str]:
    """The start tags of the cells behind the first, which is the head of its row."""
    _, *others = columns.values()
    return [markup.cell_start(column["head"], column.get("kind", "")) for column in others]


def _row(head: str, starts: Sequence[str], contents: Iterable[object]) -> str:
    cells = [f"{start}{content!s}</td>" for start, content in zip(starts, contents, strict=True)]
    return f"<tr>{head}{''.join(cells)}</tr>"


def _run(run: int, run_url: Callable[[int], Markup]) -> str:
    return f'<a href="{run_url(run)}">{run}</a>'


def _mute(group: CrashGroup, mutes: _Mutes) -> str:
    mute = mutes.get((group.client, None)) or mutes.get((group.client, group.signature))
    if mute is None:
        return ""
    subject = "The client" if mute.subject.crash_group is None else "This crash"
    title = f"{subject} is muted by {mute.username} until {datetime_tz(mute.ends_at)}: {mute.reason}"
    return f'<span class="crash-mark" title="{escape(title)}">muted</span> '


def _markup(html: str) -> Markup:
    """HTML in which every text is escaped."""
    return Markup(html)  # noqa: S704
