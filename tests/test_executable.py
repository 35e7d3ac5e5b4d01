"""The executable with all its commands, on a machine with only glibc and a temporary directory."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import apprise
import pytest
import requests

from dqmsquare_cfg import Cluster
from runtime import version
from simulator.admin import AdminClient
from simulator.certificates import CertificateAuthority
from simulator.simulator import PRODUCTION_MACHINES
from tests.bare_root import BareRoot
from tests.legacy_mirror import RUN, LegacyMirror, graph, job
from tests.processes import is_alive
from tests.receivers import HttpReceiver, SmtpReceiver
from tests.served import free_port
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a-secret-of-the-tests"
# Each of two machines has more jobs of them than a grabber parses in its own process.
RUNS = 100
# Some seconds of work for the import of a legacy database.
JOBS = 6000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The executable that `dqmsquare_deploy.sh build` makes, and the output of the build."""
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
    """A root directory with the executable and nothing of Python."""
    return BareRoot(tmp_path_factory.mktemp("bare") / "root", built[0])


@pytest.fixture
def given(postgres: EmbeddedPostgres) -> Iterator[dict[str, str]]:
    """Settings of an operator: empty databases, directories in the bare root."""
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
    """Settings for a simulator that runs in the bare root too."""
    return {
        **given,
        "CMSWEB_FRONTEND_PROXY_URL": base_url,
        "CMSWEB_CA_PATH": "/tmp/simulator/ca.pem",
        "SERVER_GRID_CERT_PATH": "/tmp/simulator/client.pem",
        "SERVER_GRID_KEY_PATH": "/tmp/simulator/client.key.pem",
    }


def base_url_of(bare: BareRoot, simulator: "subprocess.Popen[bytes]") -> str:
    """URL of a simulator that runs in the bare root, once it listens."""
    found: list[str] = []

    def is_listening() -> bool:
        found.extend(re.findall(r"^(https://.*)\n", bare.output(simulator), flags=re.MULTILINE))
        return bool(found)

    until(is_listening)
    return found[0]


def processes_with(bare: BareRoot, argument: str) -> list[int]:
    """Ids of processes in the bare root with a command line argument."""
    return [pid for pid in bare.processes() if argument in arguments_of(pid)]


def arguments_of(pid: int) -> list[str]:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def grabber_logs(bare: BareRoot) -> str:
    return "".join(path.read_text() for path in (bare.tmp / "log").glob("grabber*.log"))


def get(given: Mapping[str, str], path: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{given['SERVER_PORT']}/dqm/dqm-square{path}", timeout=TIMEOUT_S)


def responds(given: Mapping[str, str], path: str) -> bool:
    try:
        return get(given, path).ok
    except requests.ConnectionError:
        return False


def archived(executable: Path) -> list[str]:
    """Names of the modules and files in the executable."""
    viewer = ROOT / "build" / "venv" / "bin" / "pyi-archive_viewer"
    command = [str(viewer), "--list", "--recursive", "--brief", str(executable)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.strip() for line in listed.splitlines()]


def test_the_build_prints_its_requirements(built: tuple[Path, str]) -> None:
    last_line = built[1].splitlines()[-1]
    assert re.fullmatch(r"Requires \w+ and glibc 2\.\d+ or newer, as on this system\.", last_line)


def test_it_contains_the_simulator_but_no_tools(built: tuple[Path, str]) -> None:
    modules = {name.partition(".")[0] for name in archived(built[0])}
    assert {"grabbing", "simulator", "web"} <= modules
    assert not modules & {"benchmarks", "tests", "tools"}


def test_it_prints_its_version(bare: BareRoot) -> None:
    status, output = bare.run({}, "--version")
    assert (status, output) == (0, f"DQM² Mirror {version.current()}\n")


def test_it_has_all_services_of_apprise(built: tuple[Path, str]) -> None:
    folder = Path(apprise.__file__).parent / "plugins"
    files = {path.relative_to(folder.parents[1]).as_posix() for path in folder.rglob("*.py")}
    assert files
    assert files <= set(archived(built[0]))


def test_it_sends_test_messages_and_names_a_service_that_it_lacks(
    bare: BareRoot, given: dict[str, str]
) -> None:
    with HttpReceiver().running() as http, SmtpReceiver().running() as smtp:
        urls = f"chat={http.url} mail={smtp.url} queue=mqtt://127.0.0.1"
        status, output = bare.run({**given, "NOTIFY_URLS": urls}, "notify-test")
    assert status == 1
    chat, mail, queue = output.splitlines()
    assert (chat, mail) == ("chat (json): delivered", "mail (mailto): delivered")
    assert queue.startswith("queue (mqtt): apprise requires paho-mqtt")
    assert (len(http.messages), len(smtp.texts)) == (1, 1)


def test_it_rejects_invalid_settings(bare: BareRoot, given: dict[str, str]) -> None:
    for arguments in (["server"], ["grabber", "production"], ["migrate"], ["healthcheck"]):
        status, output = bare.run(
            {**given, "SERVER_PORT": "none", "PSEUDONYM_SECRET": "CHANGEME"}, *arguments
        )
        assert status == 2
        assert sorted(line.split()[0] for line in output.splitlines()) == ["PSEUDONYM_SECRET", "SERVER_PORT"]


def test_its_commands_mirror_and_show_a_cluster(bare: BareRoot, given: dict[str, str]) -> None:
    (bare.tmp / "secret").write_text(SECRET)
    with ExitStack() as parts:
        simulator = parts.enter_context(
            bare.running(
                given,
                *("simulator", "--folder", "/tmp/simulator", "--secret-file", "/tmp/secret"),
                *("--history", str(RUNS), "--speed", "4"),
            )
        )
        settings = simulated(given, base_url_of(bare, simulator))
        status, output = bare.run(settings, "migrate")
        assert status == 0, output
        for cluster in Cluster:
            parts.enter_context(bare.running(settings, "grabber", cluster.value))
        parts.enter_context(bare.running(settings, "server"))
        until(lambda: processes_with(bare, "--multiprocessing-fork"))
        until(lambda: responds(given, "/readyz"))
        for cluster in Cluster:
            until(lambda of=cluster: get(given, f"/api?what=get_info&db={of}").json()[1])  # type: ignore[misc]
            shown = get(given, f"/?db={cluster}")
            assert "restarted" in shown.text or "running" in shown.text
        style_sheet = re.search(r'href="/dqm/dqm-square(/static/[^"]+base\.css)"', shown.text)
        assert style_sheet is not None
        assert get(given, style_sheet[1]).ok
        assert get(given, "/cr/login/").ok
        assert "For shifters" in get(given, "/help/shifter").text
        assert get(given, "/api/v1/openapi.json").json()["openapi"].startswith("3.1")
        assert get(given, "/api/v1/").ok
        metrics = requests.get(f"http://127.0.0.1:{given['SERVER_METRICS_PORT']}/metrics", timeout=TIMEOUT_S)
        assert 'dqmsquare_database_up{cluster="production"} 1.0' in metrics.text
        assert bare.run(settings, "healthcheck") == (
            0,
            "server: healthy\nproduction grabber: healthy\nplayback grabber: healthy\n",
        )
        until(lambda: "machine_synced" in grabber_logs(bare))
        assert "parser_process_died" not in grabber_logs(bare)


def test_its_grabber_reports_a_crash_by_chat_and_mail(bare: BareRoot, given: dict[str, str]) -> None:
    (bare.tmp / "secret").write_text(SECRET)
    folder = bare.tmp / "simulator"
    with ExitStack() as parts:
        simulator = parts.enter_context(
            bare.running(
                given,
                *("simulator", "--folder", "/tmp/simulator", "--secret-file", "/tmp/secret"),
                *("--paused", "--history", "1"),
            )
        )
        base_url = base_url_of(bare, simulator)
        authority = CertificateAuthority(folder)
        admin = parts.enter_context(AdminClient(base_url, folder))
        http = parts.enter_context(HttpReceiver().running())
        smtp = parts.enter_context(SmtpReceiver(authority.server.certificate, authority.server.key).running())
        strict = smtp.url.replace("&verify=no", "")
        phone = f"tgram://123456789:{'a' * 35}/1"
        rules = [f"{name}: kind=crashed" for name in ("chat", "mail", "strict")]
        settings = {
            **simulated(given, base_url),
            "LOG_DIR": "",
            "NOTIFY_URLS": f"chat={http.url} mail={smtp.url} strict={strict} phone={phone}",
            # Nothing is sent to a host elsewhere.
            "NOTIFY_RULES": "; ".join([*rules, "phone: client=nobody"]),
        }
        assert bare.run(settings, "migrate")[0] == 0
        grabber = parts.enter_context(bare.running(settings, "grabber", "production"))
        # Jobs that a grabber finds when it begins are not reported.
        until(lambda: bare.output(grabber).count("machine_synced") >= len(PRODUCTION_MACHINES))
        admin.call("event", event="start_run", cluster="production")
        admin.call("event", event="crash", cluster="production", client="beam", exit_code=-11)
        until(lambda: http.bodies and smtp.texts)
        for text in (*http.bodies, *smtp.texts):
            assert "beam crashed in run" in text
        until(lambda: re.search("notification_failed .*receiver=strict", bare.output(grabber)))
        assert len(smtp.texts) == 1


def test_it_continues_a_legacy_import_that_was_killed(
    bare: BareRoot, given: dict[str, str], postgres: EmbeddedPostgres
) -> None:
    earlier = LegacyMirror(postgres, given["POSTGRES_PRODUCTION_DB_NAME"])
    earlier.write("runs", *(job(number, run=RUN - number // 30) for number in range(1, JOBS + 1)))
    earlier.write("graphs", graph())
    status, output = bare.run(given, "db", "adopt", "--dry-run")
    assert (status, f"jobs: {JOBS}, of " in output) == (0, True), output
    with bare.running(given, "db", "adopt") as outer:
        until(lambda: len(processes_with(bare, "--multiprocessing-fork")) == 2)
        at_work = [pid for pid in bare.processes() if pid != outer.pid]
        outer.kill()
        until(lambda: not any(map(is_alive, at_work)))
    assert "are being imported" in bare.run(given, "db", "status")[1]
    status, output = bare.run(given, "db", "adopt", "--processes", "3")
    assert status == 0, output
    assert earlier.execute("SELECT count(*) FROM jobs") == [(JOBS,)]
    for arguments in (["migrate"], ["db", "prune"]):
        assert bare.run({**given, "JOB_LOG_RETENTION_DAYS": "30"}, *arguments)[0] == 0
    status, output = bare.run(given, "db", "adopt", "--drop", "--yes")
    assert status == 0, output
    assert "legacy" not in bare.run(given, "db", "status")[1]
    assert earlier.execute("SELECT relname FROM pg_class WHERE relname LIKE 'legacy%'") == []


@pytest.mark.parametrize("arguments", [["server"], ["grabber", "production"]])
def test_it_stops_in_time(bare: BareRoot, given: dict[str, str], arguments: list[str]) -> None:
    before = set(bare.tmp.iterdir())
    with bare.running({**given, "SERVER_WORKERS": "2"}, *arguments) as outer:
        until(lambda: bare.run(given, "healthcheck")[0] == 0)
        outer.send_signal(signal.SIGTERM)
        assert outer.wait(timeout=TIMEOUT_S) == 0
        assert bare.processes() == []
    assert set(bare.tmp.iterdir()) - before <= {bare.tmp / "log"}


@pytest.mark.parametrize("arguments", [["server"], ["grabber", "production"]])
def test_no_process_outlives_a_killed_executable(
    bare: BareRoot, given: dict[str, str], arguments: list[str]
) -> None:
    with bare.running({**given, "SERVER_WORKERS": "2"}, *arguments) as outer:
        until(lambda: bare.run(given, "healthcheck")[0] == 0)
        inner = [pid for pid in bare.processes() if pid != outer.pid]
        assert inner
        outer.kill()
        until(lambda: not any(map(is_alive, inner)))
