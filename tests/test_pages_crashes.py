"""The pages of groups of crashes: which are listed, how they are marked, and their texts for issues."""

import html
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from benchmarks.crash_corpus import CRASH_LOGS
from dqm2.crash_reasons import analyze
from dqm2.records import JobLog, JobRecord
from dqmsquare_cfg import Settings
from storage.crash_marks import CrashMark
from storage.crash_queries import CrashFilter
from storage.run_queries import RunFilter
from tests.grabber_runner import reader
from tests.mirrored_cluster import crashed_job, job, write_jobs
from web.pages import crash_issue

RUN = 358_788
EXCEPTION, OTHER = CRASH_LOGS[:2]
HOSTILE = "<script>alert(1)</script> ](http://evil.example/) ```"


def good(run: int, **fields: Any) -> JobRecord:
    return job(run, "csc", exit_code=0, **fields)


def titles(client: FlaskClient, query: str = "") -> list[str]:
    """The titles that the page lists."""
    page = client.get(f"/crashes/?db=production{query}")
    assert page.status_code == 200
    return [
        html.unescape(title) for title in re.findall(r'href="/crashes/[0-9a-f]{16}[^>]*>([^<]+)<', page.text)
    ]


def group_url(client: FlaskClient) -> str:
    """The URL of the group that the page lists first."""
    found = re.search(r'href="(/crashes/[0-9a-f]{16}[^"]*)"', client.get("/crashes/").text)
    assert found is not None
    return found[1]


def marks(settings: Settings) -> list[tuple[CrashMark, ...]]:
    found = reader(settings).crashes.find_groups(CrashFilter(RunFilter(0, RUN + 999)), skip=0, limit=50)
    return [group.marks for group in found.groups]


def test_it_lists_the_last_crash_first(client: FlaskClient, settings: Settings) -> None:
    write_jobs(
        settings, crashed_job(RUN), crashed_job(RUN + 2, client="dt"), crashed_job(RUN + 1), good(RUN + 3)
    )
    assert [title.partition(":")[0] for title in titles(client)] == ["dt", "csc"]
    text = client.get("/crashes/").text
    assert "2 of 2 different crashes" in text
    assert "Crashed in 2 of the last 4 runs" in text


def test_it_counts_runs_and_jobs(settings: Settings) -> None:
    write_jobs(
        settings,
        crashed_job(RUN),
        crashed_job(RUN),
        crashed_job(RUN + 1, cmssw_version="15_0_0", run_key="hi_run"),
    )
    [group] = reader(settings).crashes.find_groups(CrashFilter(RunFilter(0, RUN + 9)), skip=0, limit=9).groups
    assert (group.since, group.last_run, group.runs, group.jobs) == (RUN, RUN + 1, 2, 3)
    assert group.releases == ("15_0_0", "12_4_8_39145_39162")
    assert group.run_keys == ("hi_run", "pp_run")
    assert group.recent == {RUN: 2, RUN + 1: 1}


def test_it_filters(client: FlaskClient, settings: Settings) -> None:
    at = datetime(2022, 9, 15, 12, tzinfo=UTC)
    later: dict[str, Any] = {"at": at + timedelta(days=40), "run_key": "hi_run", "cmssw_version": "15_0_0"}
    first = crashed_job(RUN)
    first = replace(
        first, document=replace(first.document, updated_at=at), started_at=at - timedelta(hours=2)
    )
    write_jobs(settings, first, job(RUN + 1, "dt", exit_code=-11, **later))
    clients = {
        "&client=dt": ["dt"],
        "&client=nobody": [],
        "&version=15_0": ["dt"],
        "&run_key=hi": ["dt"],
        "&kind=exception": ["csc"],
        "&kind=timeout": [],
        f"&from={RUN + 1}": ["dt"],
        f"&to={RUN}": ["csc"],
        "&from=2022-09-15&to=2022-09-15": ["csc"],
        f"&kind=exception&from={RUN + 1}": [],
        "&skip=1": ["csc"],
    }
    assert {
        query: [title.partition(":")[0] for title in titles(client, query)] for query in clients
    } == clients


@pytest.mark.parametrize("query", ["kind=cosmic", "kind=exception&kind=timeout", "skip=x", "from=x", "db=x"])
def test_it_refuses_invalid_filters(without_data: FlaskClient, query: str) -> None:
    assert without_data.get(f"/crashes/?{query}").status_code == 400


def test_it_says_that_nothing_crashed(client: FlaskClient, settings: Settings) -> None:
    write_jobs(settings, good(RUN))
    assert "No job of the production cluster has crashed." in client.get("/crashes/").text
    assert "No crash of the production cluster matches" in client.get("/crashes/?kind=timeout").text
    assert "No job of the playback cluster has crashed." in client.get("/crashes/?db=playback").text


OLD, NEW, NEWEST = "14_0_1", "14_0_2", "15_0_0"


def in_release(release: str, make: Callable[..., JobRecord], *runs: int) -> list[JobRecord]:
    return [make(RUN + run, cmssw_version=release) for run in runs]


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([*in_release(OLD, good, 0), *in_release(OLD, crashed_job, 1)], (CrashMark.NEW,)),
        (
            [*in_release(OLD, good, 0), *in_release(NEW, crashed_job, 1), *in_release(NEW, good, 2)],
            (CrashMark.NEW,),
        ),
        ([*in_release(OLD, crashed_job, 0), *in_release(NEW, good, 1)], ()),
        (
            [
                *in_release(OLD, crashed_job, 0),
                *in_release(NEW, good, 1),
                *in_release(NEWEST, crashed_job, 2),
            ],
            (CrashMark.REGRESSION,),
        ),
        ([*in_release(OLD, crashed_job, 0), *in_release(NEW, crashed_job, 1)], ()),
        (
            [*in_release(OLD, crashed_job, *range(9)), *in_release(NEW, good, 9)],
            (CrashMark.ALWAYS,),
        ),
        ([*in_release(OLD, crashed_job, *range(8)), *in_release(NEW, good, 8, 9)], ()),
    ],
)
def test_it_marks_groups(settings: Settings, jobs: list[JobRecord], expected: tuple[CrashMark, ...]) -> None:
    write_jobs(settings, *jobs)
    assert marks(settings) == [expected]


def test_it_marks_each_group_by_its_own_runs(settings: Settings) -> None:
    last = [
        *in_release(NEW, good, 10, 11),
        job(RUN + 11, "dt", exit_code=-11, lumisection=0, cmssw_version=NEW),
    ]
    write_jobs(
        settings, *in_release(OLD, crashed_job, *range(10)), crashed_job(RUN, OTHER, cmssw_version=OLD), *last
    )
    # The ten runs of csc are not the ten of dt, and its good job reached a lumisection in the last one.
    assert marks(settings) == [(CrashMark.NEW,), (), ()]
    write_jobs(settings, job(RUN + 12, "ecal", exit_code=-11, lumisection=0, cmssw_version=NEW))
    assert marks(settings)[0] == (CrashMark.NEW, CrashMark.EXPECTED)


@pytest.mark.parametrize(
    ("reached", "is_expected"), [((None, 0), True), ((0, 5), False), ((None, None), True)]
)
def test_it_marks_crashes_of_runs_without_lumisections(
    settings: Settings, reached: tuple[int | None, int | None], *, is_expected: bool
) -> None:
    failed, other = reached
    write_jobs(settings, crashed_job(RUN, lumisection=failed), job(RUN, "dt", exit_code=0, lumisection=other))
    assert (CrashMark.EXPECTED in marks(settings)[0]) is is_expected


def test_it_shows_a_group(client: FlaskClient, settings: Settings) -> None:
    write_jobs(
        settings,
        crashed_job(RUN),
        crashed_job(RUN, OTHER),
        good(RUN + 1),
        crashed_job(RUN + 2, lumisection=12),
    )
    page = client.get(group_url(client)).text
    assert "2 of 3 runs of the client since then, 2 jobs" in page
    assert "12–300" in page
    assert "all on " in page
    assert "Other crashes of csc" in page
    [line] = re.findall(r'#L(\d+)">run 358790, line', page)
    assert f"#L{line}" in page
    assert "Exception Message" in page or "ProductNotFound" in page


def test_other_pages_lead_to_the_group(client: FlaskClient, settings: Settings) -> None:
    first, same = crashed_job(RUN), crashed_job(RUN + 1)
    last = crashed_job(RUN + 2, cmssw_version="12_4_9")
    write_jobs(settings, first, same, last)
    url = group_url(client)
    for record, is_new, runs in ((first, True, 1), (same, True, 2), (last, False, 3)):
        for path in (f"/?run={record.run}", f"/job/{record.document.identity}"):
            [link] = re.findall(r'<a class="crash-seen"[^>]*>.*?</a>', client.get(path).text)
            assert url in link
            assert (">new<" in link) is is_new
            assert (f">seen in {runs} runs since {RUN}<" in link) is (runs > 1)


@pytest.mark.long
def test_a_job_page_words_an_unknown_release_alike(client: FlaskClient, settings: Settings) -> None:
    first, last = (crashed_job(run, cmssw_version=None) for run in (RUN, RUN + 1))
    write_jobs(settings, first, last)
    page = client.get(f"/job/{last.document.identity}").text
    assert page.count("unknown release") == 4
    assert "CMSSW unknown" not in page


def test_the_text_for_the_elog_names_the_group(client: FlaskClient, settings: Settings) -> None:
    write_jobs(settings, crashed_job(RUN), crashed_job(RUN + 1), crashed_job(RUN + 2, cmssw_version="12_4_9"))
    texts = [client.get(f"/?run={run}").text for run in range(RUN, RUN + 3)]
    title = "(csc: ProductNotFound"
    assert f"This crash is new in this run {title}" in texts[0]
    assert f"This crash is new in this release and was seen in 2 runs since run {RUN} {title}" in texts[1]
    assert f"This crash was seen in 3 runs since run {RUN} {title}" in texts[2]


def test_it_knows_no_other_group(client: FlaskClient, settings: Settings) -> None:
    write_jobs(settings, crashed_job(RUN))
    for signature in ("0" * 16, "x", "fragments", "0" * 17, "%00"):
        assert client.get(f"/crashes/{signature}").status_code == 404, signature


def test_it_gives_a_text_for_an_issue(client: FlaskClient, settings: Settings) -> None:
    write_jobs(settings, crashed_job(RUN), good(RUN + 1), crashed_job(RUN + 2))
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", client.get(group_url(client)).text, re.DOTALL)
    assert found is not None
    text = html.unescape(found[1])
    assert text.startswith("### csc: ProductNotFound")
    assert f"Since run [{RUN}](/?db=production&run={RUN})" in text
    assert "Seen in 2 of 3 runs of csc (2 jobs)" in text
    assert "- Releases: CMSSW\\_12\\_4\\_8\\_39145\\_39162" in text
    assert f"<details><summary>Log of run {RUN + 2}, lines " in text
    assert re.search(r"\[Log at this line\]\(/job/[0-9a-f-]{36}\?db=production#L\d+\)", text)
    assert text.endswith("?db=production)")


def test_it_escapes_what_logs_contain(client: FlaskClient, settings: Settings) -> None:
    message = f"----- Begin Fatal Exception -----\nAn exception of category 'Hostile' occurred\n{HOSTILE}\n"
    log = JobLog("began\n", f"{message}Exception Message:\n{HOSTILE}\n----- End Fatal Exception -----\n")
    findings = analyze(log, 65)
    write_jobs(settings, job(RUN, "csc", exit_code=65, log=log, crash=findings.crash))
    for page in (client.get("/crashes/").text, client.get(group_url(client)).text):
        assert "<script>alert" not in page
    escaped = r"\<script\>alert(1)\</script\> \](http://evil.example/) \`\`\`"
    assert crash_issue.escape(HOSTILE) == escaped


def test_it_fences_a_log_that_has_fences() -> None:
    text = "a\n````\nb"
    excerpt = crash_issue.Excerpt(job(RUN, "csc").document.identity, RUN, 3, 4, text)
    assert (excerpt.fence, excerpt.last) == ("`````", 5)
