"""The Chromium of this machine, and how it is started for tests and pictures."""

import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Chromium's own calls home are none of ours.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    """The path of a Chromium; `None` where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)
