"""docs/grafana-dashboard.json: its queries have metrics and labels that the programs export."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import skips
from tools.deploy_check import dashboard, exported_metrics, promql
from web.metrics import MirrorCollector

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / dashboard.FILE).read_text()
# The metrics that an operator looks for on it.
SHOWN = {
    "dqmsquare_last_sync_timestamp_seconds",
    "dqmsquare_jobs",
    "dqmsquare_crashed_jobs",
    "dqmsquare_upstream_request_duration_seconds_bucket",
    "dqmsquare_upstream_errors_total",
    "dqmsquare_revision_lag",
    "dqmsquare_http_request_duration_seconds_bucket",
    "dqmsquare_response_cache_requests_total",
    "dqmsquare_database_up",
    "dqmsquare_database_errors_total",
}

Panel = dict[str, Any]


def test_there_is_nothing_wrong_with_the_dashboard() -> None:
    assert dashboard.problems(ROOT) == []


def test_it_shows_what_an_operator_looks_for() -> None:
    assert set(re.findall(r"\bdqmsquare_\w+", " ".join(dashboard.queries(ROOT)))) >= SHOWN


def test_it_counts_crashes_in_as_many_runs_as_the_metric() -> None:
    [metric] = [one for one in MirrorCollector({}).collect() if one.name == "dqmsquare_crashed_jobs"]
    counted = re.search(r"newest \d+ runs", metric.documentation)
    assert counted
    assert counted[0] in TEXT


def test_it_has_no_data_source_or_id_of_one_installation() -> None:
    parsed = json.loads(TEXT)
    assert parsed["id"] is None
    assert set(re.findall(r'"uid": "([^"]+)"', TEXT)) == {"${datasource}", "-- Grafana --", parsed["uid"]}


@skips.needs("prometheus")
def test_prometheus_reads_its_queries(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query} for number, query in enumerate(dashboard.queries(ROOT))
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    assert f"{len(rules)} rules found" in checked.stdout


def with_query(expression: str, legend: str = "") -> Callable[[Panel], None]:
    def change(panel: Panel) -> None:
        panel["targets"][0].update(expr=expression, legendFormat=legend)

    return change


def with_values(**given: Any) -> Callable[[Panel], None]:
    return lambda panel: panel.update(given)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_query("sum by (cluster"), "its expression can't be read"),
        (with_query("dqmsquare_jobz"), "there is no metric dqmsquare_jobz"),
        (with_query('dqmsquare_jobs{cluster=~"$clusters"}'), "there is no variable clusters"),
        (with_query("max by (cluster) (dqmsquare_jobs)", "{{state}}"), "its result has no label state"),
        (with_values(description=""), "it has no description"),
        (with_values(targets=[]), "it has no targets"),
        (with_values(fieldConfig={"defaults": {}}), "its values have no unit"),
        (with_values(datasource={"type": "prometheus", "uid": "P1"}), "its data source is not the one"),
        (with_values(gridPos={"x": 20, "y": 0, "w": 8, "h": 1}), "it is wider than the page"),
        (with_values(gridPos={"x": 0, "y": 0, "w": 24, "h": 99}), "it overlaps"),
        (with_values(id=1), "several panels have the id 1"),
        (with_values(title="Freshness"), "several panels have the title Freshness"),
    ],
)
def test_the_check_notices(tmp_path: Path, change: Callable[[Panel], None], sentence: str) -> None:
    parsed = json.loads(TEXT)
    change(next(panel for panel in parsed["panels"] if panel["type"] == "timeseries"))
    assert [problem for problem in problems_of(tmp_path, parsed) if sentence in problem]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("label_values(dqmsquare_up, cluster)", "there is no metric dqmsquare_up"),
        ("label_values(dqmsquare_database_up, machine)", "dqmsquare_database_up has no label machine"),
        ("metrics(.*)", "is not label_values(metric, label)"),
    ],
)
def test_the_check_notices_a_wrong_variable(tmp_path: Path, query: str, sentence: str) -> None:
    parsed = json.loads(TEXT)
    next(one for one in parsed["templating"]["list"] if one["type"] == "query")["query"]["query"] = query
    assert [problem for problem in problems_of(tmp_path, parsed) if sentence in problem]


def problems_of(folder: Path, parsed: object) -> list[str]:
    (folder / "docs").mkdir()
    (folder / dashboard.FILE).write_text(json.dumps(parsed))
    return dashboard.problems(folder)


TARGET = {"instance", "job"}
MACHINE = {"cluster", "machine", *TARGET}


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("1 + 1", set()),
        ("time() - dqmsquare_revision", MACHINE),
        ("-dqmsquare_revision offset 5m", MACHINE),
        ("(1 - dqmsquare_revision) > bool 2", MACHINE),
        ("max_over_time(dqmsquare_revision[1h:5m])", MACHINE),
        ("sum(dqmsquare_revision)", set()),
        ("sum by (cluster) (dqmsquare_revision)", {"cluster"}),
        ("sum without (cluster, job) (dqmsquare_revision)", {"machine", "instance"}),
        ("topk(3, dqmsquare_revision)", MACHINE),
        ('count_values by (cluster) ("lag", dqmsquare_revision)', {"cluster", "lag"}),
        ("dqmsquare_revision / on (cluster) dqmsquare_jobs", {"cluster"}),
        ("dqmsquare_revision - ignoring (job) dqmsquare_revision_lag", MACHINE - {"job"}),
        ("dqmsquare_revision * on (cluster) group_left (state) dqmsquare_jobs", {*MACHINE, "state"}),
        ("dqmsquare_jobs * on (cluster) group_right (state) dqmsquare_revision", {*MACHINE, "state"}),
        ("dqmsquare_revision unless on (cluster) dqmsquare_jobs", MACHINE),
        ("dqmsquare_revision or dqmsquare_jobs", {*MACHINE, "state"}),
        ('label_replace(dqmsquare_build_info, "a", "$1", "commit", "(.*)")',
         {"a", "version", "commit", "schema", *TARGET}),
        ('absent(dqmsquare_jobs{cluster="playback", state=~"x"})', {"cluster"}),
        ("absent(sum(dqmsquare_jobs))", set()),
        ("histogram_quantile(0.5, rate(dqmsquare_http_request_duration_seconds_bucket[5m]))",
         {"route", *TARGET}),
        ("dqmsquare_control_commands_total", {"command", "outcome", *TARGET}),
    ],
)  # fmt: skip
def test_it_knows_the_labels_of_a_result(expression: str, labels: set[str]) -> None:
    assert promql.labels_of(expression) == labels


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("up", "there is no metric up"),
        ("dqmsquare_http_requests", "there is no metric dqmsquare_http_requests"),
        ("dqmsquare_jobs_total", "there is no metric dqmsquare_jobs_total"),
        ('{__name__=~"dqmsquare_.*"}', "a selector names no metric"),
        ('dqmsquare_jobs{client="beam"}', "dqmsquare_jobs has no label client"),
        ('dqmsquare_jobs{state="a" or client="beam"}', "dqmsquare_jobs has no label client"),
        ('rate(dqmsquare_http_requests_total{cluster!=""}[5m])', "has no label cluster"),
        ("sum by (machine) (dqmsquare_jobs)", "has no label machine"),
        ("sum without (machine) (dqmsquare_jobs)", "has no label machine"),
        ("sum by (state) (max by (cluster) (dqmsquare_jobs))", "has no label state"),
        ("dqmsquare_jobs / on (machine) dqmsquare_revision", "dqmsquare_jobs has no label machine"),
        ("dqmsquare_revision * on (cluster) group_left (machine) dqmsquare_jobs", "has no label machine"),
        ("dqmsquare_jobs * on (cluster) group_right (machine) dqmsquare_revision", "has no label machine"),
        ("histogram_quantile(0.9, dqmsquare_http_request_duration_seconds_sum)", "has no label le"),
    ],
)
def test_it_refuses_unknown_metrics_and_labels(expression: str, sentence: str) -> None:
    with pytest.raises(promql.UnknownName, match=re.escape(sentence)):
        promql.labels_of(expression)


def test_it_knows_the_metrics_that_any_module_declares() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    programs = [name for name in tracked.stdout.split() if not name.startswith(("tests/", "tools/"))]
    declared = {
        name
        for file in programs
        for name in re.findall(r'"(dqmsquare_\w+)",?\s+"', (ROOT / file).read_text())
    }
    assert "dqmsquare_control_commands_total" in declared
    series = exported_metrics.labels_by_name().keys()
    assert declared <= series | {name.removesuffix("_count") for name in series}
