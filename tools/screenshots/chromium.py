"""Chromium on this machine, and its options for tests and screenshots."""

from tools.install import find_executable

PACKAGE = "chromium-headless-shell"
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Chromium makes no requests of its own.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    """Path of a Chromium, or `None`."""
    return find_executable(PACKAGE)
