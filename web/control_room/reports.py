"""How the Control Room tells what became of a command: to a person on the page, to a script in plain text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flask import Response, render_template

from dqm2.command_responses import (
    Acknowledged,
    ClientList,
    CmsswInfo,
    CommandResponse,
    DaemonLogs,
    MachineGroups,
    PackageVersion,
    PackageVersions,
    RunKeyList,
    SimulatorConfiguration,
    SimulatorRuns,
)
from dqm2.sync_messages import ClusterStatus
from web.control_room.command_execution import Report
from web.control_room.services import desk

# Which template shows which answer; an Ok needs none.
_TEMPLATES: Mapping[type[CommandResponse], str] = {
    MachineGroups: "machines",
    ClusterStatus: "cluster_status",
    PackageVersions: "versions",
    CmsswInfo: "cmssw",
    SimulatorConfiguration: "simulator",
    SimulatorRuns: "simulator_runs",
    ClientList: "clients",
    DaemonLogs: "logs",
    RunKeyList: "own_list",
}
# Text that DQM² sent instead of an answer: enough of it to see what it is.
_MOST_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class VersionTable:
    """Machines by versions: the versions that there are, the most frequent first, and rows by group."""

    versions: Sequence[str]
    groups: Mapping[str, Sequence[PackageVersion]]

    @property
    def differ(self) -> bool:
        """Whether not all machines that told one have the same."""
        return len(self.versions) > 1


def for_page(report: Report) -> Response:
    """The answer as a part of the page; always 200, since what stands between may replace error pages."""
    answer = report.answer
    name = _TEMPLATES.get(type(answer)) if answer is not None else None
    return Response(
        render_template(
            "control_room/_report.html",
            report=report,
            order=report.order,
            shown_by=None if name is None else f"control_room/answers/{name}.html",
            answer=answer,
            text=report.text[:_MOST_CHARACTERS],
            is_text_cut=len(report.text) > _MOST_CHARACTERS,
            table=version_table(answer) if isinstance(answer, PackageVersions) else None,
            release=desk().settings.tested_fff_release,
        )
    )


def for_script(report: Report) -> Response:
    """What DQM² said, as text or JSON, never as HTML; the sentence where it said nothing."""
    is_json = report.answer is not None and not isinstance(report.answer, CmsswInfo | Acknowledged)
    response = Response(
        report.text or report.sentence,
        report.status,
        mimetype="application/json" if is_json else "text/plain",
    )
    response.headers["Command-Outcome"] = report.outcome
    return response


def version_table(versions: PackageVersions) -> VersionTable:
    """The versions as a table."""
    told = [row.version for rows in versions.groups.values() for row in rows if row.version is not None]
    return VersionTable(
        sorted(set(told), key=lambda version: (-told.count(version), version)), versions.groups
    )
