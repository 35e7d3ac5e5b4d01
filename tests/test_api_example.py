"""docs/examples/follow_run.py follows a run of a served mirror by the calls that docs/api.md describes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dqm2.records import JobRecord
from tests.mirrored_cluster import MirroredCluster, job
from tests.waiting import TIMEOUT_S

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "docs/examples/follow_run.py"
RUN = 358_791


def write(mirrored: MirroredCluster, *jobs: JobRecord) -> None:
    mirrored.write(mirrored.filter_units[0], *jobs)


@contextmanager
def followed(url: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """The example while it runs, at most as long as the test."""
    environment = {name: value for name, value in os.environ.items() if name != "X509_USER_PROXY"}
    with subprocess.Popen(
        [sys.executable, EXAMPLE, url, "--every", "0.1", *options],
        cwd=ROOT,
        env={**environment, "NO_PROXY": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as example:
        try:
            yield example
        finally:
            example.terminate()


def test_it_prints_each_crash_once_and_ends_with_the_run(url: str, mirrored: MirroredCluster) -> None:
    dead, alive, well = job(RUN, "beam", exit_code=-9), job(RUN, "dt"), job(RUN, "hcal")
    write(mirrored, dead, alive, well)
    with followed(url) as example:
        assert example.stdout
        assert example.stderr
        lines = [example.stdout.readline()]
        write(mirrored, job(RUN, "dt", document=alive.document, exit_code=65, lumisection=7))
        lines.append(example.stdout.readline())
        assert example.poll() is None
        write(mirrored, job(RUN, "hcal", document=well.document, exit_code=0))
        write(mirrored, job(RUN + 1, "beam", exit_code=1))
        assert example.stdout.read() == ""
        assert example.wait(timeout=TIMEOUT_S) == 0, example.stderr.read()
    label = mirrored.label(mirrored.filter_units[0])
    assert lines == [
        f"{client} crashed on {label} at LS {ls}, exit code {exit_code}: {url}/job/{one.document.identity}"
        "?db=production\n"
        for client, ls, exit_code, one in (("beam", 300, -9, dead), ("dt", 7, 65, alive))
    ]


def test_it_takes_an_earlier_run_whose_jobs_are_lost(url: str, mirrored: MirroredCluster) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    write(mirrored, job(RUN - 1, "beam", at=yesterday), job(RUN - 1, "dt", at=yesterday, exit_code=1))
    write(mirrored, job(RUN, "beam", exit_code=1))
    with followed(f"{url}/", "--run", str(RUN - 1)) as example:
        output, errors = example.communicate(timeout=TIMEOUT_S)
    assert (example.returncode, errors) == (0, "")
    [line] = output.splitlines()
    assert line.startswith("dt crashed on ")
    assert f": {url}/job/" in line


def test_its_command_in_the_guide_has_its_path() -> None:
    guide = (ROOT / "docs" / "api.md").read_text()
    assert f"]({EXAMPLE.removeprefix('docs/')})" in guide
    assert f"`python {EXAMPLE} http" in guide
