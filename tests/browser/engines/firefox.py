"""A tab of Firefox as Debian ships it, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/).

Firefox speaks the protocol itself. Playwright needs a newer Firefox than Debian's, and Selenium geckodriver,
which Debian does not have.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websocket import WebSocket, create_connection

from tests.browser.engines.tab import KEYS, PageIsChanging, Tab
from tests.waiting import TIMEOUT_S

PACKAGE = "firefox-esr"
_ADDRESS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
# Errors of a script whose page is left while it runs.
_OF_A_REPLACED_PAGE = ("no such frame", "unknown error")
# Firefox makes no requests of its own, and loads no default page.
_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    # An eighth of a start is the search for add-ons and the start of those that come with it.
    "extensions.enabledScopes": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    # Nobody answers its question whether a page may show notifications; 2 denies them.
    "permissions.default.desktop-notification": 2,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.server": "",
}


@contextmanager
def firefox_tab(executable: str, folder: Path) -> Iterator["FirefoxTab"]:
    """A tab in a Firefox of its own, with a new profile in `folder`."""
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in _PREFERENCES.items()]
    (folder / "user.js").write_text("".join(lines))
    command = [executable, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port=0"]
    # As root it refuses to run with the home folder of another user.
    environment = {**os.environ, "HOME": str(folder)}
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.PIPE, text=True
        )
        try:
            connection = create_connection(
                f"{_address(process)}/session", timeout=TIMEOUT_S, suppress_origin=True
            )
            yield FirefoxTab(connection)
            connection.close()
        finally:
            process.terminate()
            process.wait(timeout=TIMEOUT_S)


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := _ADDRESS.search(line):
            return found[1]
    raise AssertionError("Firefox ended without listening")


class FirefoxTab(Tab):
    """A tab of a Firefox that `connection` leads to."""

    def __init__(self, connection: WebSocket) -> None:
        self._connection = connection
        self._ids = count(1)
        self._command("session.new", capabilities={})
        self._context = self._command("browsingContext.create", type="tab")["context"]
        self._command(
            "browsingContext.setViewport", context=self._context, viewport={"width": 1440, "height": 900}
        )

    def goto(self, url: str) -> None:
        self._command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def run(self, body: str) -> Any:
        result = self._command(
            "script.evaluate",
            # As JSON: the protocol's own form of values is another one.
            expression=f"JSON.stringify([(() => {{ {body} }})()])",
            target={"context": self._context},
            awaitPromise=False,
            userActivation=False,
        )
        assert result["type"] == "success", result
        return json.loads(result["result"]["value"])[0]

    def click_at(self, x: int, y: int) -> None:
        self._perform(
            "pointer",
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        )

    def press(self, key: str) -> None:
        value = KEYS.get(key, key)
        self._perform("key", {"type": "keyDown", "value": value}, {"type": "keyUp", "value": value})

    def _perform(self, device: str, *actions: dict[str, object]) -> None:
        source = {"type": device, "id": device, "actions": actions}
        self._command("input.performActions", context=self._context, actions=[source])

    def _command(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv())
            if message.get("id") != number:
                continue
            if message.get("error") in _OF_A_REPLACED_PAGE:
                raise PageIsChanging(message["message"])
            assert message["type"] == "success", message
            return dict(message["result"])
