"""Every page, and the tasks of shifters and experts, in every engine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dqm2.records import CrashKind, CrashReason, JobLog, JobRecord
from dqmsquare_cfg import Settings
from tests.browser.engines.tab import Tab
from tests.mirrored_cluster import MirroredCluster, job, with_series, write_run
from tests.served import with_contacts
from tests.waiting import until

pytestmark = pytest.mark.long

RUN = 358_791
OLD_RUN = RUN - 3000
CLIENT = "ecal"
ROW = f"[data-client={CLIENT}]"
FATAL = "Begin Fatal Exception"
LOG = JobLog(
    "".join(f"line {number}\n" for number in range(1, 201)),
    "".join(f"quiet {number}\n" for number in range(1, 101))
    + f"----- {FATAL} 15-Sep-2022 13:45:45 CEST-----\n"
    + "An exception of category 'FileReadError' occurred\n"
    + "----- End Fatal Exception -----\n"
    + "".join(f"cleanup {number}\n" for number in range(1, 101)),
)
REASON = CrashReason(CrashKind.EXCEPTION, "FileReadError", "Input file", "DQMStreamerReader", "source")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with a contact for the client."""
    return with_contacts(settings)


@pytest.fixture
def crashed(mirrored: MirroredCluster) -> JobRecord:
    """The newest job of a client that crashed in two runs, after two good ones of another release."""
    now = datetime.now(UTC)
    ends = {RUN - 3: 0, RUN - 2: 0, RUN - 1: 85, RUN: 85}
    jobs = [
        replace(
            with_series(
                job(run, CLIENT, at=now - (RUN - run) * timedelta(hours=3), exit_code=code), seed=run
            ),
            cmssw_version="12_4_8" if code else "12_4_7",
            crash=REASON if code else None,
            log=LOG,
        )
        for run, code in ends.items()
    ]
    old = job(OLD_RUN, "csc", at=now - timedelta(days=30), exit_code=0, run_key="cosmic_run")
    mirrored.write(mirrored.filter_units[0], old, *jobs, job(RUN, "csc", cmssw_version="12_4_8"))
    mirrored.beat()
    return jobs[-1]


def test_it_opens_every_page(tab: Tab, url: str, mirrored: MirroredCluster) -> None:
    jobs = write_run(mirrored, RUN)
    for path, shown in (
        ("/", ".verdict"),
        ("/?wall=1", "h2"),
        (f"/job/{jobs[0].document.identity}", ".job-graphs canvas"),
        ("/timeline/", "#timeline-table .cell"),
        ("/statistics/", ".statistics-table tbody tr"),
        ("/cluster/", "[data-machine]"),
        ("/help/shifter", "h1"),
        ("/cr/", "form"),
    ):
        tab.goto(f"{url}{path}")
        tab.expect(shown)
        tab.press("d")
        tab.expect("html[data-bs-theme]")


def test_it_lets_a_shifter_do_the_tasks(tab: Tab, url: str, crashed: JobRecord) -> None:
    assert crashed
    tab.goto(url)
    tab.expect_in_view(".verdict", "1 problem")
    tab.expect_in_view(".machine-freshness dd", "ago")
    tab.expect_in_view(f"{ROW} .job", "crashed")
    tab.expect_in_view(ROW, "FileReadError")
    tab.expect_in_view(ROW, "call ECAL on call")
    tab.run("delete Navigator.prototype.clipboard;")
    tab.press("c")
    tab.expect("#copy-dialog[open]")
    assert f"- {CLIENT} crashed on " in tab.run("return document.activeElement.value;")
    tab.press("Escape")
    tab.expect("#copy-dialog", count=0)
    until(lambda: tab.run("return document.activeElement === document.body;"))
    tab.press("r")
    tab.type("cosmic")
    tab.submit()
    tab.click("main a", str(OLD_RUN))
    tab.expect(".run-number", str(OLD_RUN))


def test_it_lets_an_expert_do_the_tasks(tab: Tab, url: str, crashed: JobRecord) -> None:
    tab.goto(url)
    tab.expect(".machine-freshness dd", "ago")
    tab.click(f"{ROW} .expander")
    tab.expect(f"{ROW} .history", f"since run {RUN - 1}.")
    tab.expect(f"{ROW} .history", f"The last good run is {RUN - 2}.")
    tab.expect(f"{ROW} .history", "New release: 12_4_8")
    tab.expect(f"{ROW} [data-graph=memory] .graph-previous", f"run {RUN - 1}")
    tab.click(f"{ROW} .log")
    tab.expect_in_view("#log-lines li", FATAL)
    tab.press("/")
    tab.type("quiet 77")
    tab.press("Enter")
    tab.expect("#log-matches", "1 of 1")
    tab.expect_in_view("#log-lines li", "quiet 77")
    tab.press("Escape")
    tab.press("e")
    tab.expect("[data-jump=error]", "1 of 1 error")
    tab.expect_in_view("#log-lines li", FATAL)
    line = tab.run("return document.querySelector('#log-lines .error a').getAttribute('href');")
    tab.goto(f"{url}/help/shifter")
    tab.goto(f"{url}/job/{crashed.document.identity}{line}")
    tab.expect_in_view("#log-lines li", FATAL)


def test_it_copies_the_report_that_is_shown_after_a_reload(
    tab: Tab, url: str, mirrored: MirroredCluster
) -> None:
    """Firefox fills fields in again with what they had before."""
    value = "return document.querySelector('#report-text').value;"
    write_run(mirrored, RUN, clients=("beam", "csc", "dt", "ecalgpu"))
    tab.goto(f"{url}/report/shift")
    tab.wait_until_loaded()
    assert tab.run(value).count(url) == 1
    write_run(mirrored, RUN + 1, clients=("beam", "csc", "dt", "ecalgpu"))
    tab.run("location.reload();")
    tab.expect("main", str(RUN + 1))
    tab.wait_until_loaded()
    text = tab.run(value)
    assert f"run {RUN + 1}" in text
    assert text.count(url) == 1
