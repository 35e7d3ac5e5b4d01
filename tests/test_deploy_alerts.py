"""docs/alerts.yaml: Prometheus can read it, and its metrics and labels are those that the mirror exports."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.sync_status import CERTIFICATE_WARNING_PERIOD
from tests import skips
from tools.deploy_check import alerts

ROOT = Path(__file__).resolve().parent.parent
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / alerts.FILE).read_text())["groups"]
    for rule in group["rules"]
}


def test_there_is_nothing_wrong_with_the_alerts() -> None:
    assert alerts.problems(ROOT) == []


def test_they_warn_of_the_certificate_when_the_pages_do() -> None:
    assert f"{CERTIFICATE_WARNING_PERIOD.days} * 86400" in RULES["CertificateExpiring"]["expr"]


def test_the_guide_says_what_to_do_about_each() -> None:
    section = (ROOT / "docs" / "operator.md").read_text().partition("\n### Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(RULES)


@skips.needs("prometheus")
@pytest.mark.parametrize("command", [("check", alerts.FILE), ("test", "tests/alerts_test.yaml")])
def test_they_wake_whom_they_should_when_they_should(command: tuple[str, str]) -> None:
    action, file = command
    checked = subprocess.run(
        ["promtool", action, "rules", file],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"expr": "dqmsquare_revision >"}, "its expression can't be read"),
        ({"expr": "dqmsquare_revisions > 1"}, "there is no metric dqmsquare_revisions"),
        ({"expr": "dqmsquare_revision_total > 1"}, "there is no metric dqmsquare_revision_total"),
        ({"expr": 'dqmsquare_revision{host="x"} > 1'}, "dqmsquare_revision has no label host"),
        ({"annotations": {"summary": "{{ $labels.machine }}", "description": "x"}}, "has no label machine"),
        ({"for": "soon"}, "soon is no length of time"),
        ({"labels": {"severity": "page"}}, "its severity"),
        ({"annotations": {"summary": "x"}}, "it needs a summary and a description"),
        ({"exp": "1"}, "are no parts of a rule"),
    ],
)
def test_the_check_notices(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    rule = {**RULES["ClusterNotMirrored"], **change}
    (tmp_path / "docs").mkdir()
    (tmp_path / alerts.FILE).write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    assert [problem for problem in alerts.problems(tmp_path) if sentence in problem]
