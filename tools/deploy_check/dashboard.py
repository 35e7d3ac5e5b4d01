"""Check of docs/grafana-dashboard.json: queries of what the mirror exports, and no overlapping panels.

The file has Grafana's classic JSON model, which newer versions import as well
(https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from tools.deploy_check import promql

FILE = "docs/grafana-dashboard.json"
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
# Grafana replaces these before it sends a query; a duration of the same kind makes it PromQL.
_INTERVAL = re.compile(r"\$(?:__rate_interval|__interval|__range)\b")
_VARIABLE = re.compile(r"\$\{?(\w+)")
_LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LABEL_VALUES = re.compile(r"label_values\((\w+), *(\w+)\)")

_Object = Mapping[str, Any]


def problems(folder: Path) -> list[str]:
    """Problems with the dashboard."""
    dashboard = json.loads((folder / FILE).read_text())
    variables = dashboard["templating"]["list"]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    found = [
        *_identity_problems(dashboard["panels"]),
        *_layout_problems(dashboard["panels"]),
        *(trouble for variable in variables for trouble in _variable_problems(variable)),
        *(trouble for panel in panels for trouble in _panel_problems(panel, variables)),
    ]
    return [f"{FILE}: {trouble}" for trouble in found]


def queries(folder: Path) -> list[str]:
    """The PromQL expressions of all panels, with durations for Grafana's intervals."""
    dashboard = json.loads((folder / FILE).read_text())
    return [
        _INTERVAL.sub("5m", target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def _identity_problems(panels: Sequence[_Object]) -> Iterator[str]:
    for key in ("id", "title"):
        values = [panel[key] for panel in panels]
        for value in sorted({value for value in values if values.count(value) > 1}, key=str):
            yield f"several panels have the {key} {value}"


def _layout_problems(panels: Sequence[_Object]) -> Iterator[str]:
    for panel in panels:
        if panel["gridPos"]["x"] + panel["gridPos"]["w"] > _COLUMNS:
            yield f"{panel['title']}: it is wider than the page"
    for one, other in combinations(panels, 2):
        if _overlap(one["gridPos"], other["gridPos"]):
            yield f"{one['title']}: it overlaps {other['title']}"


def _overlap(one: _Object, other: _Object) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def _variable_problems(variable: _Object) -> Iterator[str]:
    if variable["type"] != "query":
        return
    query = variable["query"]["query"]
    if not (found := _LABEL_VALUES.fullmatch(query)):
        yield f"variable {variable['name']}: {query} is not label_values(metric, label)"
        return
    metric, label = found.groups()
    try:
        promql.require_labels([label], promql.labels_of_metric(metric), metric)
    except promql.UnknownName as error:
        yield f"variable {variable['name']}: {error}"


def _panel_problems(panel: _Object, variables: Sequence[_Object]) -> Iterator[str]:
    title = panel["title"]
    for key in ("description", "targets"):
        if not panel.get(key):
            yield f"{title}: it has no {key}"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield f"{title}: its values have no unit"
    known = {variable["name"] for variable in variables}
    for target in panel.get("targets", ()):
        if not panel["datasource"] == target["datasource"] == _DATASOURCE:
            yield f"{title}: its data source is not the one that is chosen"
        expression = _INTERVAL.sub("5m", target["expr"])
        if unknown := sorted(set(_VARIABLE.findall(expression)) - known):
            yield f"{title}: there is no variable {', '.join(unknown)}"
        try:
            labels = promql.labels_of(expression)
            promql.require_labels(_LEGEND_LABEL.findall(target["legendFormat"]), labels, "its result")
        except promql.UnknownName as error:
            yield f"{title}: {error}"
