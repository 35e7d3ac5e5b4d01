"""Reports in a browser: accessible, on a phone and on paper, and copied."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import Theme, in_each_theme, violations
from tests.browser.conftest import PHONE, allow_copying
from tests.browser.test_appearance import overflowing_tables, widths
from tests.examples import core_of
from tests.mirrored_cluster import MirroredCluster, write_run

RUN = 358_791
# axe takes as long as a page has elements.
CLIENTS = ("beamhlt", "dt", "ecalgpu", "hcalreco")


@in_each_theme
@pytest.mark.parametrize(
    "path",
    core_of(["/report/shift", "/report/playback", "/report/efficiency?group=release"], "/report/shift"),
)
def test_they_are_accessible_and_fit_a_phone_and_paper(
    page: Page, url: str, mirrored: MirroredCluster, playback: MirroredCluster, path: str, theme: Theme
) -> None:
    for cluster in (mirrored, playback):
        for run in (RUN - 1, RUN):
            write_run(cluster, run, clients=CLIENTS, lumisections=40, is_ended=True)
        cluster.beat()
    page.goto(f"{url}{path}")
    assert violations(page, theme, within="#main") == []
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Copy as Markdown")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.emulate_media(media="screen")
    page.set_viewport_size(PHONE)
    assert overflowing_tables(page) == []
    width, within = widths(page)
    assert width <= within


def test_they_are_copied(page: Page, url: str, mirrored: MirroredCluster) -> None:
    write_run(mirrored, RUN, clients=CLIENTS, lumisections=20)
    page.goto(f"{url}/report/shift")
    allow_copying(page)
    markdown, text = (page.get_by_role("button", name=f"Copy as {form}") for form in ("Markdown", "text"))
    markdown.click()
    expect(markdown.locator("output")).to_have_text("copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("### [DQM shift report of the production cluster")
    assert f"[{RUN}]({url}/?db=production&run={RUN})" in copied
    text.click()
    expect(text.locator("output")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()").endswith(f"\n{page.url}\n")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    text.click()
    expect(page.locator("#report-text")).to_be_focused()
