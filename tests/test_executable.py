"""The one executable, all of its parts, on a machine with glibc and a temporary folder and nothing else."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from dqmsquare_cfg import Cluster
from runtime import version
from tests.bare_root import BareRoot
from tests.legacy_mirror import RUN, LegacyMirror, graph, job
from tests.served import free_port, is_alive
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a-secret-of-the-tests"
# Each of two machines has more jobs of them than a grabber parses in its own process.
RUNS = 100
# Some seconds of work for those that take over an earlier mirror's database.
JOBS = 6000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The executable as `dqmsquare_deploy.sh build` makes it, and what that said."""
    dist = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        ["./dqmsquare_deploy.sh", "build", "--dist", str(dist)],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return dist / "dqmsquare_mirror", done.stdout


@pytest.fixture(scope="module")
def bare(built: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> BareRoot:
    return BareRoot(tmp_path_factory.mktemp("bare") / "root", built[0])


@pytest.fixture
def given(postgres: EmbeddedPostgres) -> Iterator[dict[str, str]]:
    """Settings as an operator has them: databases that are empty, folders within the root."""
    names = {cluster: f"executable_{cluster}" for cluster in Cluster}
    for name in names.values():
        postgres.create_database(name)
    yield {
        "ENV": "production",
        "ENV_FILE": "",
        "POSTGRES_HOST": postgres.host,
        "POSTGRES_PORT": str(postgres.port),
        "POSTGRES_PASSWORD": postgres.password,
        "POSTGRES_PRODUCTION_DB_NAME": names[Cluster.PRODUCTION],
        "POSTGRES_PLAYBACK_DB_NAME": names[Cluster.PLAYBACK],
        "CMSWEB_FRONTEND_PROXY_URL": "https://127.0.0.1:1/dqm",
        "DQM_FFF_SECRET": SECRET,
        "DQM_CR_USERNAMES": "expert:a-password-of-the-tests",
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": free_port(),
        "SERVER_METRICS_PORT": free_port(),
        "GRABBER_PRODUCTION_METRICS_PORT": free_port(),
        "GRABBER_PLAYBACK_METRICS_PORT": free_port(),
        "LOG_DIR": "/tmp/log",
        "TMP_DIR": "/tmp",
        "PSEUDONYM_SECRET": "a-mirror-secret-of-the-tests",
        "SESSION_SECRET": "a-session-secret-of-the-tests",
    }
    for name in names.values():
        postgres.drop_database(name)


def simulated(given: Mapping[str, str], base_url: str) -> dict[str, str]:
    """The settings with the way in to a simulator that runs within the root as well."""
    return {
        **given,
        "CMSWEB_FRONTEND_PROXY_URL": base_url,
        "CMSWEB_CA_PATH": "/tmp/simulator/ca.pem",
        "SERVER_GRID_CERT_PATH": "/tmp/simulator/client.pem",
        "SERVER_GRID_KEY_PATH": "/tmp/simulator/client.key.pem",
    }


def working(bare: BareRoot, word: str) -> list[int]:
    """The processes within the root that were started with a word."""
    return [pid for pid in bare.processes() if word in words_of(pid)]


def words_of(pid: int) -> list[str]:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def page(given: Mapping[str, str], path: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{given['SERVER_PORT']}/dqm/dqm-square{path}", timeout=TIMEOUT_S)


def answers(given: Mapping[str, str], path: str) -> bool:
    try:
        return page(given, path).ok
    except requests.ConnectionError:
        return False


def test_its_build_says_what_it_needs(built: tuple[Path, str]) -> None:
    said = built[1].splitlines()[-1]
    assert re.fullmatch(r"It runs on \w+ with glibc 2\.\d+ or newer, this system's own\.", said)


def test_it_tells_its_version(bare: BareRoot) -> None:
    status, said = bare.run({}, "--version")
    assert (status, said) == (0, f"DQM² Mirror {version.current()}\n")


def test_it_refuses_settings_that_do_not_hold(bare: BareRoot, given: dict[str, str]) -> None:
    for words in (["server"], ["grabber", "production"], ["migrate"], ["healthcheck"]):
        status, said = bare.run({**given, "SERVER_PORT": "none", "PSEUDONYM_SECRET": "CHANGEME"}, *words)
        assert status == 2
        assert sorted(line.split()[0] for line in said.splitlines()) == ["PSEUDONYM_SECRET", "SERVER_PORT"]


def test_its_parts_mirror_and_show_a_cluster(bare: BareRoot, given: dict[str, str]) -> None:
    (bare.tmp / "secret").write_text(SECRET)
    with ExitStack() as parts:
        simulator = parts.enter_context(
            bare.running(
                given,
                *("simulator", "--folder", "/tmp/simulator", "--secret-file", "/tmp/secret"),
                *("--history", str(RUNS), "--speed", "20"),
            )
        )
        assert simulator.stdout is not None
        base_url = next(line for line in simulator.stdout if line.startswith("https://")).strip()
        settings = simulated(given, base_url)
        status, said = bare.run(settings, "migrate")
        assert status == 0, said
        for cluster in Cluster:
            parts.enter_context(bare.running(settings, "grabber", cluster.value))
        parts.enter_context(bare.running(settings, "server"))
        until(lambda: working(bare, "--multiprocessing-fork"))
        until(lambda: answers(given, "/readyz"))
        for cluster in Cluster:
            until(lambda of=cluster: page(given, f"/api?what=get_info&db={of}").json()[1])  # type: ignore[misc]
            shown = page(given, f"/?db={cluster}")
            assert "restarted" in shown.text or "running" in shown.text
        style_sheet = re.search(r'href="/dqm/dqm-square(/static/[^"]+mirror\.css)"', shown.text)
        assert style_sheet is not None
        assert page(given, style_sheet[1]).ok
        assert page(given, "/cr/login/").ok
        assert "For shifters" in page(given, "/help/shifter").text
        metrics = requests.get(f"http://127.0.0.1:{given['SERVER_METRICS_PORT']}/metrics", timeout=TIMEOUT_S)
        assert 'dqmsquare_database_up{cluster="production"} 1.0' in metrics.text
        assert bare.run(settings, "healthcheck") == (
            0,
            "server: healthy\nproduction grabber: healthy\nplayback grabber: healthy\n",
        )
        logged = "".join(file.read_text() for file in (bare.tmp / "log").iterdir() if "grabber" in file.name)
        assert "machine_synced" in logged
        assert "parser_process_died" not in logged


def test_it_continues_a_legacy_import_that_was_killed(
    bare: BareRoot, given: dict[str, str], postgres: EmbeddedPostgres
) -> None:
    earlier = LegacyMirror(postgres, given["POSTGRES_PRODUCTION_DB_NAME"])
    earlier.write("runs", *(job(number, run=RUN - number // 30) for number in range(1, JOBS + 1)))
    earlier.write("graphs", graph())
    status, said = bare.run(given, "db", "adopt", "--dry-run")
    assert (status, f"jobs: {JOBS}, of " in said) == (0, True), said
    with bare.running(given, "db", "adopt") as outer:
        until(lambda: len(working(bare, "--multiprocessing-fork")) == 2)
        at_work = [pid for pid in bare.processes() if pid != outer.pid]
        outer.kill()
        until(lambda: not any(map(is_alive, at_work)))
    assert "are being imported" in bare.run(given, "db", "status")[1]
    status, said = bare.run(given, "db", "adopt", "--processes", "3")
    assert status == 0, said
    assert earlier.execute("SELECT count(*) FROM jobs") == [(JOBS,)]
    for words in (["migrate"], ["db", "prune"]):
        assert bare.run({**given, "JOB_LOG_RETENTION_DAYS": "30"}, *words)[0] == 0
    status, said = bare.run(given, "db", "adopt", "--drop", "--yes")
    assert status == 0, said
    assert "legacy" not in bare.run(given, "db", "status")[1]
    assert earlier.execute("SELECT relname FROM pg_class WHERE relname LIKE 'legacy%'") == []


@pytest.mark.parametrize("words", [["server"], ["grabber", "production"]])
def test_it_ends_in_time_when_it_is_told_to(bare: BareRoot, given: dict[str, str], words: list[str]) -> None:
    before = set(bare.tmp.iterdir())
    with bare.running({**given, "SERVER_WORKERS": "2"}, *words) as outer:
        until(lambda: bare.run(given, "healthcheck")[0] == 0)
        outer.send_signal(signal.SIGTERM)
        assert outer.wait(timeout=TIMEOUT_S) == 0
        assert bare.processes() == []
    assert set(bare.tmp.iterdir()) - before <= {bare.tmp / "log"}


@pytest.mark.parametrize("words", [["server"], ["grabber", "production"]])
def test_it_leaves_nothing_running_when_it_is_killed(
    bare: BareRoot, given: dict[str, str], words: list[str]
) -> None:
    with bare.running({**given, "SERVER_WORKERS": "2"}, *words) as outer:
        until(lambda: bare.run(given, "healthcheck")[0] == 0)
        inner = [pid for pid in bare.processes() if pid != outer.pid]
        assert inner
        outer.kill()
        until(lambda: not any(map(is_alive, inner)))
