"""A group of crashes as Markdown for an issue.

Links have paths only: the browser adds the origin by which it has reached the mirror
(`static/js/copy_issue.js`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from flask import url_for

from dqmsquare_cfg import Cluster
from storage.client_names import client_name
from storage.crash_reader import CrashGroupSummary

_MAX_MACHINES = 5
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&])")
# GitHub takes `@name` and `#12` for a person and an issue even behind a backslash
# (https://github.com/github/cmark-gfm/issues/181), but not with an invisible character in between.
_REFERENCE = re.compile(r"(?<!\w)@(?=\w)|#(?=[0-9])")
_INVISIBLE = "\u200b"
_BACKTICKS = re.compile(r"`+")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Part of the log of a job from line `first` on.

    `line` is that of the reason for the crash, `reason` the text of the line that has its message.
    """

    job: UUID
    run: int
    first: int
    line: int
    text: str
    reason: str = ""

    @property
    def last(self) -> int:
        """The number of the last line."""
        return self.first + self.text.count("\n")

    @property
    def fence(self) -> str:
        """The fence of a code block in Markdown, longer than any in the text."""
        longest = max((len(found) for found in _BACKTICKS.findall(self.text)), default=0)
        return "`" * max(3, longest + 1)


def markdown(
    cluster: Cluster,
    summary: CrashGroupSummary,
    client_runs: int,
    machines: Sequence[tuple[str, int]],
    excerpt: Excerpt | None,
) -> str:
    """The text; `client_runs` is the number of the client's runs since the first with this crash."""
    parts = [
        f"### {escape(summary.group.title)}",
        " ".join(_sentences(cluster, summary, client_runs)),
        "\n".join(_facts(summary, machines)),
        *(() if excerpt is None else (_fold(cluster, excerpt),)),
        _link("All runs with this crash", _group_url(cluster, summary)),
    ]
    return "\n\n".join(part for part in parts if part)


def escape(text: str) -> str:
    """A text of one line in which nothing has a meaning in Markdown, nor names a person or an issue."""
    return escape_in_link(_REFERENCE.sub(rf"\g<0>{_INVISIBLE}", text))


def escape_in_link(text: str) -> str:
    """The text of a link, in which nothing is taken for a name."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _sentences(cluster: Cluster, summary: CrashGroupSummary, client_runs: int) -> Iterator[str]:
    client = escape(client_name(summary.group.client))
    since = _run_link(cluster, summary.since)
    jobs = f"{summary.jobs} job{'s' if summary.jobs > 1 else ''}"
    if client_runs == 1:
        yield f"New in run {since} of the {cluster} cluster: {jobs} of {client}."
        return
    yield f"Since run {since} of the {cluster} cluster."
    yield f"Seen in {summary.runs} of {client_runs} runs of {client} ({jobs}),"
    yield f"last in run {_run_link(cluster, summary.last_run)}."


def _facts(summary: CrashGroupSummary, machines: Sequence[tuple[str, int]]) -> Iterator[str]:
    if summary.releases:
        yield f"- Releases: {', '.join(escape(f'CMSSW_{release}') for release in summary.releases)}"
    if summary.run_keys:
        yield f"- Run keys: {', '.join(map(escape, summary.run_keys))}"
    if machines:
        more = f" and {len(machines) - _MAX_MACHINES} more" if len(machines) > _MAX_MACHINES else ""
        named = ", ".join(escape(label) for label, _ in machines[:_MAX_MACHINES])
        yield f"- Machines: {named}{more}"


def _fold(cluster: Cluster, excerpt: Excerpt) -> str:
    log_url = f"{url_for('job.page', job=excerpt.job, db=cluster)}#L{excerpt.line}"
    return "\n".join(
        (
            f"<details><summary>Log of run {excerpt.run}, lines {excerpt.first}–{excerpt.last}</summary>",
            "",
            f"{excerpt.fence}text",
            excerpt.text,
            excerpt.fence,
            "",
            "</details>",
            "",
            _link("Log at this line", log_url),
        )
    )


def _group_url(cluster: Cluster, summary: CrashGroupSummary) -> str:
    return url_for("crash_group.page", signature=summary.group.signature, db=cluster)


def _run_link(cluster: Cluster, run: int) -> str:
    return _link(str(run), url_for("live.page", db=cluster, run=run))


def _link(text: str, url: str) -> str:
    return f"[{text}]({url})"
