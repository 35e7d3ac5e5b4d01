"""`tools.screenshots.pictures` takes a picture of every page in both themes."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests import skips
from tests.demo_process import DemoProcess
from tools.screenshots import chromium, pictures
from tools.screenshots.running_demo import RunningDemo


@pytest.mark.long
@pytest.mark.timeout(600)
def test_it_takes_every_picture(demo: DemoProcess, browser: Browser, tmp_path: Path) -> None:
    _, user, password = demo.control_room
    executable = skips.require(chromium.PACKAGE)
    # The Chromium of the other tests draws nothing.
    with browser.browser_type.launch(executable_path=executable, args=list(chromium.OPTIONS)) as drawing:
        pictures.take_all(drawing, RunningDemo(demo.page.rstrip("/"), user, password), tmp_path)
    taken = {path.name for path in tmp_path.iterdir()}
    for shot in (*pictures.SHOTS, *pictures.PUBLIC_SHOTS, *pictures.EXPERT_SHOTS):
        assert {f"{shot.name}-light.png", f"{shot.name}-dark.png"} <= taken
