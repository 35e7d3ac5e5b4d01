"""Installation under systemd: installed files, the wrapper's commands, delays of restarts."""

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

import dqmsquare_cfg
from dqmsquare_cfg import SettingsError
from tests import skips
from tools.deploy_check import linters

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Prefix of an installation with a fake executable; its unit is in `units` next to it."""
    done = linters.install_units(ROOT, tmp_path / "prefix", tmp_path / "units")
    assert done.returncode == 0, done.stdout
    return tmp_path / "prefix"


def replace_executable(prefix: Path, script: str) -> None:
    """Replace the fake executable by a shell script."""
    (prefix / "dqmsquare_mirror").write_text(f"#!/bin/sh\n{script}\n")


def run_wrapper(
    prefix: Path, *arguments: str, path: str | None = None, result: str | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(prefix / "dqmsquare_mirror_wrapper.sh"), *arguments],
        env={"PATH": path or os.environ["PATH"], **({"SERVICE_RESULT": result} if result else {})},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def deploy(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(ROOT / "dqmsquare_deploy.sh"), *arguments], capture_output=True, text=True, check=False
    )


def test_shellcheck_finds_nothing() -> None:
    assert linters.script_problems(ROOT) == []


@skips.needs("systemd")
def test_systemd_accepts_the_units() -> None:
    assert linters.systemd_problems(ROOT) == []


def test_it_installs_all_files(prefix: Path) -> None:
    assert {path.name for path in prefix.iterdir()} == {
        "dqmsquare_mirror",
        "dqmsquare_mirror_wrapper.sh",
        ".env",
        "log",
        "tmp",
    }
    unit = (prefix.parent / "units" / linters.UNIT).read_text()
    assert f"ExecStart={prefix}/dqmsquare_mirror_wrapper.sh %i" in unit
    assert f"ReadWritePaths={prefix}/log {prefix}/tmp" in unit
    assert "/opt/" not in unit


def test_others_cannot_read_its_settings(prefix: Path) -> None:
    assert stat.S_IMODE((prefix / ".env").stat().st_mode) == 0o640


def test_its_settings_are_rejected_until_placeholders_are_replaced(prefix: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        dqmsquare_cfg.load({"ENV_FILE": str(prefix / ".env")})
    rejected = {line.split()[0] for line in caught.value.lines}
    assert rejected == {"DQM_FFF_SECRET", "POSTGRES_PASSWORD", "PSEUDONYM_SECRET", "SESSION_SECRET"}
    file = prefix / ".env"
    file.write_text(file.read_text().replace("CHANGEME", "filled-in-by-the-operator"))
    settings = dqmsquare_cfg.load({"ENV_FILE": str(file)})
    assert (settings.env, settings.log_dir) == ("production", prefix / "log")


def test_it_keeps_existing_settings(prefix: Path) -> None:
    (prefix / ".env").write_text("ENV=testbed\n")
    done = linters.install_units(ROOT, prefix, prefix.parent / "units")
    assert done.returncode == 0
    assert "until: systemctl restart dqmsquare_mirror@server" in done.stdout
    assert (prefix / ".env").read_text() == "ENV=testbed\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["install", "--prefix", "relative"], "--prefix must be an absolute path"),
        (["install", "--prefix", "/tmp/with blank"], "--prefix must be an absolute path"),
        (["install", "--user", "A;B"], "--user must be a name"),
        (["install", "--executable", "/nowhere"], "/nowhere does not exist; run dqmsquare_deploy.sh build"),
        (["install", "--dist", "x"], "--dist is not an option of this command"),
        (["uninstall", "--prefix"], "--prefix requires a value"),
        (["status", "--prefix", "/nowhere"], "the mirror is not installed in /nowhere"),
        (["start"], "dqmsquare_deploy.sh build"),
    ],
)
def test_it_rejects_invalid_arguments(arguments: list[str], message: str) -> None:
    done = deploy(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_it_rejects_an_executable_that_does_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/nowhere/sh\n")
    broken.chmod(0o755)
    done = deploy("install", "--prefix", str(tmp_path / "prefix"), "--executable", str(broken))
    assert done.returncode == 2
    assert f"{broken} does not run on this system" in done.stderr


def test_uninstall_removes_the_installed_files_and_keeps_the_operators(prefix: Path) -> None:
    done = deploy("uninstall", "--prefix", str(prefix), "--units", str(prefix.parent / "units"))
    assert done.returncode == 0
    assert {path.name for path in prefix.iterdir()} == {".env", "log", "tmp"}
    assert list((prefix.parent / "units").iterdir()) == []


def test_it_prints_the_status(prefix: Path) -> None:
    replace_executable(prefix, 'echo "called with $*"; [ "$1" = --version ]')
    done = deploy("status", "--prefix", str(prefix))
    assert done.stdout.splitlines()[0] == f"{prefix}: called with --version"
    assert done.stdout.splitlines()[-1] == "called with healthcheck"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("server", "server"),
        ("grabber-production", "grabber production"),
        ("grabber-playback", "grabber playback"),
    ],
)
def test_the_wrapper_executes_the_services_command(prefix: Path, service: str, command: str) -> None:
    replace_executable(prefix, 'echo "$$ $PPID $PWD $TMPDIR $*"')
    with subprocess.Popen(
        [str(prefix / "dqmsquare_mirror_wrapper.sh"), service], stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate()
    assert output == f"{process.pid} {os.getpid()} {prefix} {prefix}/tmp/{service} {command}\n"


def test_the_wrapper_rejects_an_unknown_service(prefix: Path) -> None:
    done = run_wrapper(prefix, "grabber-lookarea")
    assert done.returncode == 2
    assert "unknown service 'grabber-lookarea'" in done.stderr


def test_the_wrapper_removes_the_unpacked_files_of_a_killed_process(prefix: Path) -> None:
    leftover = prefix / "tmp" / "server" / "_MEI123" / "library.so"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    other = prefix / "tmp" / "kept"
    other.touch()
    assert run_wrapper(prefix, "server").returncode == 0
    assert not leftover.exists()
    assert other.exists()


@pytest.fixture
def delays(tmp_path: Path) -> tuple[str, Path]:
    """A PATH with a `sleep` that only records its argument, and the file with the records."""
    records, folder = tmp_path / "delays", tmp_path / "bin"
    folder.mkdir()
    (folder / "sleep").write_text(f'#!/bin/sh\necho "$1" >> {records}\n')
    (folder / "sleep").chmod(0o755)
    records.touch()
    return f"{folder}:{os.environ['PATH']}", records


def test_repeated_restarts_are_delayed_exponentially(prefix: Path, delays: tuple[str, Path]) -> None:
    path, records = delays
    (prefix.parent / "state").mkdir()
    for _ in range(12):
        assert run_wrapper(prefix, "server", str(prefix.parent / "state"), path=path).returncode == 0
    expected = [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    assert [int(line) for line in records.read_text().split()] == expected


def test_the_restart_of_a_stable_service_is_not_delayed(prefix: Path, delays: tuple[str, Path]) -> None:
    path, records = delays
    state = prefix.parent / "state"
    state.mkdir()
    (state / "restarts").write_text("7 1000\n")
    assert run_wrapper(prefix, "server", str(state), path=path).returncode == 0
    assert records.read_text() == ""


def test_a_service_starts_whose_record_of_restarts_was_not_written_in_full(prefix: Path) -> None:
    state = prefix.parent / "state"
    state.mkdir()
    (state / "restarts").touch()
    assert run_wrapper(prefix, "server", str(state)).returncode == 0


def test_a_service_starts_whose_record_of_restarts_can_not_be_written(prefix: Path) -> None:
    state = prefix.parent / "state"
    state.mkdir()
    (state / "restarts").symlink_to(state / "missing" / "restarts")
    assert run_wrapper(prefix, "server", str(state)).returncode == 0


@pytest.mark.parametrize(("result", "delay"), [("success", []), ("exit-code", [80]), ("watchdog", [80])])
def test_the_start_after_a_requested_stop_is_not_delayed(
    prefix: Path, delays: tuple[str, Path], result: str, delay: list[int]
) -> None:
    path, records = delays
    state = prefix.parent / "state"
    state.mkdir()
    (state / "restarts").write_text(f"5 {int(time.time())}\n")
    assert run_wrapper(prefix, "stopped", str(state), result=result).returncode == 0
    assert run_wrapper(prefix, "server", str(state), path=path).returncode == 0
    assert [int(line) for line in records.read_text().split()] == delay
