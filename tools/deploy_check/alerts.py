"""Check of docs/alerts.yaml: rules that Prometheus can parse, about what the mirror exports."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.deploy_check import promql

FILE = "docs/alerts.yaml"
_KEYS = {"alert", "expr", "for", "labels", "annotations"}
_DURATION = re.compile(r"([0-9]+(ms|[smhdwy]))+")
_LABEL_IN_TEXT = re.compile(r"\$labels\.(\w+)")


def problems(folder: Path) -> list[str]:
    """Problems with the alerts."""
    groups = yaml.safe_load((folder / FILE).read_text())["groups"]
    return [
        f"{FILE}: {rule.get('alert')}: {trouble}"
        for group in groups
        for rule in group["rules"]
        for trouble in _rule_problems(rule)
    ]


def _rule_problems(rule: Mapping[str, Any]) -> Iterator[str]:
    if unknown := rule.keys() - _KEYS:
        yield f"{sorted(unknown)} are no parts of a rule"
    if not _DURATION.fullmatch(str(rule.get("for", "0s"))):
        yield f"{rule['for']} is no length of time"
    if not {"summary", "description"} <= rule.get("annotations", {}).keys():
        yield "it needs a summary and a description"
    if rule.get("labels", {}).get("severity") not in {"warning", "critical"}:
        yield "its severity is neither warning nor critical"
    texts = " ".join(rule.get("annotations", {}).values())
    try:
        labels = promql.labels_of(rule["expr"])
        promql.require_labels(_LABEL_IN_TEXT.findall(texts), labels, "its result")
    except promql.UnknownName as error:
        yield str(error)
