"""Rendering of a report's page, and its CSV files."""

from collections.abc import Callable
from typing import Any

from flask import Response, render_template
from werkzeug.exceptions import NotFound

from dqmsquare_cfg import Cluster
from web import databases, query_args, responses
from web.pages.reports import texts
from web.pages.reports.document import Report


def render(template: str, report: Report, csv_url: Callable[[str], str], **context: Any) -> str:
    """The page of a report, with its texts to copy; `csv_url` returns the path of a section's CSV file."""
    return render_template(
        template,
        report=report,
        markdown=texts.markdown(report),
        plain_text=texts.plain_text(report),
        csv_url=csv_url,
        **context,
    )


def csv_download(report: Report, cluster: Cluster, name: str) -> Response:
    """The section of a report that the parameter `table` names, as CSV.

    Raises NotFound, and DatabaseUnavailable during an outage: a file can't say that its data are old.
    """
    databases.require_available(cluster)
    key = query_args.text("table")
    section = next((section for section in report.sections if section.key == key), None)
    if section is None:
        raise NotFound(f"table must be one of {', '.join(section.key for section in report.sections)}.")
    header = [column.name for column in section.columns]
    return responses.csv_download(f"{name}_{section.key}.csv", header, texts.csv_rows(section))
