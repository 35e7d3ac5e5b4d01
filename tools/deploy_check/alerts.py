"""Check of docs/alerts.yaml: rules that Prometheus can parse, about metrics that the mirror exports."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.metrics import MetricWrapperBase

import web.metrics
from grabbing import metrics

FILE = "docs/alerts.yaml"
_KEYS = {"alert", "expr", "for", "labels", "annotations"}
_DURATION = re.compile(r"([0-9]+(ms|[smhdwy]))+")
_METRIC = re.compile(r"\bdqmsquare_\w+")
# Suffixes that Prometheus' client appends to the names of counters and histograms.
_SUFFIXES = ("_total", "_bucket", "_count", "_sum")


def problems(folder: Path) -> list[str]:
    """Problems with the alerts."""
    groups = yaml.safe_load((folder / FILE).read_text())["groups"]
    return [
        f"{FILE}: {rule.get('alert')}: {trouble}"
        for group in groups
        for rule in group["rules"]
        for trouble in _rule_problems(rule)
    ]


def metric_names() -> set[str]:
    """Names of the metrics that server and grabbers export, without suffixes."""
    counted = [
        value
        for module in (metrics, web.metrics)
        for value in vars(module).values()
        if isinstance(value, MetricWrapperBase)
    ]
    # The server's collector computes its metrics on request, so they are not module attributes.
    looked_up = web.metrics.MirrorCollector({})
    return {family.name for metric in (*counted, looked_up) for family in metric.collect()}


def _rule_problems(rule: Mapping[str, Any]) -> Iterator[str]:
    if unknown := rule.keys() - _KEYS:
        yield f"{sorted(unknown)} are no parts of a rule"
    if not _DURATION.fullmatch(str(rule.get("for", "0s"))):
        yield f"{rule['for']} is no length of time"
    if not {"summary", "description"} <= rule.get("annotations", {}).keys():
        yield "it needs a summary and a description"
    if rule.get("labels", {}).get("severity") not in {"warning", "critical"}:
        yield "its severity is neither warning nor critical"
    try:
        promql_parser.parse(rule["expr"])
    except ValueError as error:
        yield f"its expression can't be read: {error}"
    for name in sorted(set(_METRIC.findall(rule["expr"]))):
        if not _is_known(name):
            yield f"there is no metric {name}"


def _is_known(name: str) -> bool:
    return any(name.removesuffix(suffix) in metric_names() for suffix in ("", *_SUFFIXES))
