"""Tasks of a shifter, each in the fewest steps; those of an expert are in `test_job_tasks.py`."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from dqm2.records import CrashKind, CrashReason
from dqmsquare_cfg import Cluster, Settings
from tests.browser.conftest import allow_copying
from tests.examples import long
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import with_contacts

RUN = 358_791
CLIENT = "ecal"
NOW = datetime.now(UTC)
REASON = CrashReason(CrashKind.EXCEPTION, "ProductNotFound", "Found zero products", "EcalMonitor", "ecal")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with a contact for the client."""
    return with_contacts(settings)


@pytest.fixture
def live(page: Page, url: str, mirrored: MirroredCluster) -> Page:
    """The live page of a run whose client crashed, as in the run before; and a run of a month ago."""
    unit = mirrored.filter_units[0]
    month_ago = NOW - timedelta(days=30)
    mirrored.write(
        unit,
        job(RUN - 3000, "csc", at=month_ago, exit_code=0, run_key="cosmic_run", cmssw_version="12_3_7"),
        job(RUN - 2, CLIENT, at=NOW - timedelta(hours=9), exit_code=0, cmssw_version="12_4_7"),
        job(RUN - 1, CLIENT, at=NOW - timedelta(hours=6), exit_code=65, cmssw_version="12_4_8"),
        job(RUN, CLIENT, exit_code=65, cmssw_version="12_4_8", crash=REASON),
        job(RUN, "csc", cmssw_version="12_4_8"),
    )
    mirrored.beat()
    page.goto(url)
    expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
    return page


def test_it_shows_at_once_whether_all_is_right_and_fresh_why_a_client_crashed_and_whom_to_call(
    live: Page,
) -> None:
    expect(live.locator(".verdict")).to_contain_text("1 problem")
    expect(live.locator(".verdict")).to_be_in_viewport()
    expect(live.locator(".machine-freshness dd").first).to_be_in_viewport()
    first = live.locator("tbody.client").first
    expect(first).to_have_attribute("data-client", CLIENT)
    expect(first).to_contain_text("crashed")
    expect(first).to_contain_text("ProductNotFound")
    expect(first).to_be_in_viewport()
    expect(first).to_contain_text("call ECAL on call")
    expect(first.get_by_role("link", name="16 1234")).to_have_attribute("href", "tel:161234")
    first.get_by_role("link", name="what to do").click()
    expect(live.get_by_role("heading", name="The clients")).to_be_in_viewport()


def test_it_is_one_step_to_the_text_for_the_elog_and_to_the_first_bad_release(
    live: Page,
) -> None:
    allow_copying(live)
    live.keyboard.press("c")
    expect(live.locator("#copy-summary")).to_contain_text("copied")
    copied = live.evaluate("navigator.clipboard.readText()")
    assert f"- {CLIENT} crashed on " in copied
    assert ": ProductNotFound in EcalMonitor:ecal: Found zero products (exit code 65)." in copied
    row = live.locator(f"[data-client={CLIENT}]")
    row.locator(".job .ls-cell .number").last.click()
    expect(row.locator(".history")).to_contain_text("New release: 12_4_8")
    expect(row.locator(".history")).to_contain_text(f"since run {RUN - 1}.")


@pytest.mark.parametrize("text", ["COSMIC", long("cmssw_12_3")])
def test_it_is_two_steps_to_a_run_of_a_month_ago(live: Page, text: str) -> None:
    live.keyboard.press("r")
    live.keyboard.type(text)
    live.keyboard.press("Enter")
    live.get_by_role("link", name=str(RUN - 3000), exact=True).click()
    expect(live.locator(".run-number")).to_contain_text(str(RUN - 3000))


@pytest.mark.long
def test_it_says_that_a_run_is_on_the_other_cluster(live: Page, settings: Settings) -> None:
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    playback.write(playback.filter_units[0], job(9001, "beam"))
    live.keyboard.press("r")
    live.keyboard.type("run9001")
    live.keyboard.press("Enter")
    expect(live.locator("#jobs")).to_contain_text("it is on playback")
    live.get_by_role("link", name="show it").click()
    expect(live.locator(".run-number")).to_contain_text("9001")
