"""A tab of WebKitGTK, driven by Selenium, on an X display in memory."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service

from tests.browser.engines.tab import KEYS, Tab
from tests.waiting import TIMEOUT_S

PACKAGE = "webkit2gtk-driver"
DISPLAY_PACKAGE = "xvfb"


@contextmanager
def webkit_tab(executable: str, display_executable: str, folder: Path) -> Iterator["WebKitTab"]:
    """A tab in a browser of its own, whose data are in `folder`."""
    with _display(display_executable) as display:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LC_"))},
            "HOME": str(folder),
            "DISPLAY": display,
            "GDK_BACKEND": "x11",
            # The language of the locale C is no valid one for Intl.
            "LANG": "en_GB.UTF-8",
            # Without a graphics card, layers drawn by OpenGL take a quarter of the CPU.
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
        }
        service = Service(executable, log_output=subprocess.DEVNULL, env=environment)
        driver = webdriver.WebKitGTK(options=Options(), service=service)
        try:
            driver.set_window_size(1440, 900)
            yield WebKitTab(driver)
        finally:
            driver.quit()


@contextmanager
def _display(executable: str) -> Iterator[str]:
    """Start an X server that is seen by nobody; yields its name, which it chooses."""
    reader, writer = os.pipe()
    command = [executable, "-displayfd", str(writer), "-screen", "0", "1440x1000x24", "-nolisten", "tcp"]
    process = subprocess.Popen(
        command, pass_fds=[writer], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as lines:
            yield f":{lines.readline().strip()}"
    finally:
        process.terminate()
        process.wait(timeout=TIMEOUT_S)


class WebKitTab(Tab):
    """The window of a driver as a tab."""

    def __init__(self, driver: webdriver.WebKitGTK) -> None:
        self._driver = driver

    def goto(self, url: str) -> None:
        self._driver.get(url)

    def run(self, body: str) -> Any:
        return self._driver.execute_script(body)

    def click_at(self, x: int, y: int) -> None:
        actions = ActionBuilder(self._driver)
        actions.pointer_action.move_to_location(x, y).click()  # type: ignore[no-untyped-call]
        actions.perform()

    def press(self, key: str) -> None:
        ActionChains(self._driver).send_keys(KEYS.get(key, key)).perform()

    def submit(self) -> None:
        # Enter is for the list of suggestions, which is a window of its own.
        self.run("document.activeElement.form.requestSubmit();")
