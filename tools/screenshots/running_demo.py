"""Temporary demo, on free ports and with a temporary data directory."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.supervisor import Process, ProcessGroup, ProcessSpec, free_ports
from tools.demo.data_dir import BASE
from tools.demo.process_specs import METRICS_PORTS, POSTGRES_PORT, SERVER_PORT, SIMULATOR_PORT

ROOT = Path(__file__).resolve().parents[2]
_READY_TIMEOUT_S = 180
_STOP_TIMEOUT_S = 15.0
_LAST_LINE = re.compile(r" +Control Room +(\S+)cr/ +user (\S+), password (\S+)")


@dataclass(frozen=True)
class RunningDemo:
    """Base URL without a trailing slash, and login of the Control Room."""

    url: str
    user: str
    password: str


@contextmanager
def running_demo() -> Iterator[RunningDemo]:
    """Demo that is ready and stops with the context. Raises ProcessError."""
    folder = Path(tempfile.mkdtemp(prefix="dqmsquare-screenshots-", dir=BASE))
    # For root, PostgreSQL runs as another user, who has to traverse it.
    folder.chmod(0o711)
    try:
        with ProcessGroup(stop_timeout_s=_STOP_TIMEOUT_S) as processes:
            yield _ready(processes.start(_demo(folder)))
    finally:
        shutil.rmtree(folder)


def _demo(folder: Path) -> ProcessSpec:
    ports = {SERVER_PORT, POSTGRES_PORT, SIMULATOR_PORT}
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return ProcessSpec(
        name="demo",
        arguments=[sys.executable, "-B", "-m", "tools.demo"],
        environment={
            **kept,
            **dict(zip(sorted(ports), map(str, free_ports(len(ports))), strict=True)),
            **dict.fromkeys(METRICS_PORTS, "0"),
            "DEMO_FOLDER": str(folder / "demo"),
        },
        cwd=ROOT,
        output=folder / "demo.out",
    )


def _ready(demo: Process) -> RunningDemo:
    for _ in range(_READY_TIMEOUT_S):
        demo.raise_if_exited()
        if found := _LAST_LINE.search("\n".join(demo.tail())):
            url, user, password = found.groups()
            return RunningDemo(url.rstrip("/"), user, password)
        demo.wait(1)
    raise TimeoutError(f"the demo was not ready within {_READY_TIMEOUT_S} s")
