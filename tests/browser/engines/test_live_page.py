"""Tour of the live page in every engine."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dqm2.records import JobRecord
from tests.browser.engines.tab import Tab
from tests.mirrored_cluster import MirroredCluster, write_run

RUN = 358_791
ROW = "[data-client=ecalgpu]"


@pytest.fixture
def jobs(mirrored: MirroredCluster) -> list[JobRecord]:
    """The jobs of a run with a crashed and a stuck one."""
    return write_run(mirrored, RUN, clients=("beam", "ecalgpu", "hcalreco", "sistrip"))


def test_it_is_live_and_leads_to_the_log_of_a_crash(
    tab: Tab, url: str, mirrored: MirroredCluster, jobs: list[JobRecord]
) -> None:
    tab.goto(url)
    tab.expect(".verdict", "2 problems")
    tab.expect(".machine-freshness dd", "ago")

    healthy = next(record for record in jobs if record.client.startswith("sistrip"))
    ended = replace(healthy.document, updated_at=datetime.now(UTC))
    mirrored.write(mirrored.filter_units[0], replace(healthy, exit_code=65, document=ended))
    tab.expect(".count.state-crashed", "2")

    tab.click(f"{ROW} .expander")
    tab.expect(f"{ROW} .expanded", "SIGSEGV")
    tab.expect(f"{ROW} .expanded canvas", count=2)
    tab.click(f"{ROW} .log")
    tab.expect_in_view("#log-lines li", "-- process exit: -11 --")


@pytest.mark.long
@pytest.mark.usefixtures("jobs")
def test_it_switches_copies_and_searches(tab: Tab, url: str) -> None:
    tab.goto(url)
    tab.expect(".machine-freshness dd", "ago")
    _switches_theme_and_zone(tab)
    _offers_the_summary_without_a_clipboard(tab)
    _switches_alerts_on_or_says_why_not(tab)

    tab.click(f"{ROW} .log")
    tab.expect_in_view("#log-lines li", "-- process exit: -11 --")
    tab.press("/")
    tab.type("psColumn")
    tab.expect("#log-matches", "10 found")
    tab.press("Enter")
    tab.expect("#log-matches", "1 of 10")
    tab.expect_in_view("#log-lines li", "psColumn")


def _switches_theme_and_zone(tab: Tab) -> None:
    theme = tab.run("return document.documentElement.dataset.bsTheme;")
    tab.click("#theme-toggle")
    tab.expect(f"html:not([data-bs-theme={theme}])")
    tab.press("u")
    tab.expect("#zone-toggle[aria-checked=true]")


def _offers_the_summary_without_a_clipboard(tab: Tab) -> None:
    # As on plain HTTP.
    tab.run("delete Navigator.prototype.clipboard;")
    tab.press("c")
    tab.expect("#copy-dialog[open]")
    selected = tab.run(
        "const { value, selectionEnd } = document.activeElement; return value.slice(0, selectionEnd);"
    )
    assert selected.startswith(f"Run {RUN} of the production cluster")
    assert selected.count("\n") > 2
    tab.press("Escape")
    tab.expect("#copy-dialog", count=0)


def _switches_alerts_on_or_says_why_not(tab: Tab) -> None:
    tab.click("[popovertarget=alert-panel]")
    for channel in ("sound", "notification"):
        tab.click(f"[data-channel={channel}]")
        tab.expect(f".alert-channel:has(:checked), #{channel}-problem:not(:empty)")
    tab.press("Escape")
    tab.expect("#alert-panel", count=0)
