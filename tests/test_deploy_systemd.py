"""An installation under systemd: what is put in place, what the wrapper becomes, how it restarts."""

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

import dqmsquare_cfg
from dqmsquare_cfg import SettingsError
from tests import skips
from tools.deploy_check import linters, systemd_units

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An installation with a stand-in for the executable, its unit beside it."""
    done = systemd_units.install(ROOT, tmp_path / "prefix", tmp_path / "units")
    assert done.returncode == 0, done.stdout
    return tmp_path / "prefix"


def stand_in(prefix: Path, script: str) -> None:
    """Another stand-in for the executable."""
    (prefix / "dqmsquare_mirror").write_text(f"#!/bin/sh\n{script}\n")


def wrapper(
    prefix: Path, *words: str, path: str | None = None, result: str | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(prefix / "dqmsquare_mirror_wrapper.sh"), *words],
        env={"PATH": path or os.environ["PATH"], **({"SERVICE_RESULT": result} if result else {})},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def deploy(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(ROOT / "dqmsquare_deploy.sh"), *words], capture_output=True, text=True, check=False
    )


def test_shellcheck_finds_nothing() -> None:
    assert linters.script_problems(ROOT) == []


@skips.needs("systemd")
def test_systemd_finds_nothing_wrong_with_the_units() -> None:
    assert systemd_units.problems(ROOT) == []


def test_it_puts_everything_in_place(prefix: Path) -> None:
    assert {path.name for path in prefix.iterdir()} == {
        "dqmsquare_mirror",
        "dqmsquare_mirror_wrapper.sh",
        ".env",
        "log",
        "tmp",
    }
    unit = (prefix.parent / "units" / systemd_units.UNIT).read_text()
    assert f"ExecStart={prefix}/dqmsquare_mirror_wrapper.sh %i" in unit
    assert f"ReadWritePaths={prefix}/log {prefix}/tmp" in unit
    assert "/opt/" not in unit


def test_nobody_else_can_read_its_settings(prefix: Path) -> None:
    assert stat.S_IMODE((prefix / ".env").stat().st_mode) == 0o640


def test_its_settings_are_refused_until_they_are_filled_in(prefix: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        dqmsquare_cfg.load({"ENV_FILE": str(prefix / ".env")})
    refused = {line.split()[0] for line in caught.value.lines}
    assert refused == {"DQM_FFF_SECRET", "POSTGRES_PASSWORD", "PSEUDONYM_SECRET", "SESSION_SECRET"}
    filled = prefix / ".env"
    filled.write_text(filled.read_text().replace("CHANGEME", "filled-in-by-the-operator"))
    settings = dqmsquare_cfg.load({"ENV_FILE": str(filled)})
    assert (settings.env, settings.log_dir) == ("production", prefix / "log")


def test_it_keeps_settings_that_are_there(prefix: Path) -> None:
    (prefix / ".env").write_text("ENV=testbed\n")
    done = systemd_units.install(ROOT, prefix, prefix.parent / "units")
    assert done.returncode == 0
    assert "until: systemctl restart dqmsquare_mirror@server" in done.stdout
    assert (prefix / ".env").read_text() == "ENV=testbed\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["install", "--prefix", "relative"], "--prefix must be a full path"),
        (["install", "--prefix", "/tmp/with blank"], "--prefix must be a full path"),
        (["install", "--user", "A;B"], "--user must be a name"),
        (["install", "--executable", "/nowhere"], "there is no /nowhere; dqmsquare_deploy.sh build makes it"),
        (["install", "--dist", "x"], "--dist is no option of this command"),
        (["uninstall", "--prefix"], "--prefix needs a value"),
        (["status", "--prefix", "/nowhere"], "nothing is installed in /nowhere"),
        (["start"], "dqmsquare_deploy.sh build"),
    ],
)
def test_it_refuses(words: list[str], sentence: str) -> None:
    done = deploy(*words)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_it_refuses_an_executable_that_does_not_run_here(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/nowhere/sh\n")
    broken.chmod(0o755)
    done = deploy("install", "--prefix", str(tmp_path / "prefix"), "--executable", str(broken))
    assert done.returncode == 2
    assert f"{broken} does not run here" in done.stderr


def test_it_takes_away_what_it_put_in_place_but_for_what_is_the_operators(prefix: Path) -> None:
    done = deploy("uninstall", "--prefix", str(prefix), "--units", str(prefix.parent / "units"))
    assert done.returncode == 0
    assert {path.name for path in prefix.iterdir()} == {".env", "log", "tmp"}
    assert list((prefix.parent / "units").iterdir()) == []


def test_it_tells_its_status(prefix: Path) -> None:
    stand_in(prefix, 'echo "told $*"; [ "$1" = --version ]')
    done = deploy("status", "--prefix", str(prefix))
    assert done.stdout.splitlines()[0] == f"{prefix}: told --version"
    assert done.stdout.splitlines()[-1] == "told healthcheck"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("server", "server"),
        ("grabber-production", "grabber production"),
        ("grabber-playback", "grabber playback"),
    ],
)
def test_the_wrapper_becomes_a_part(prefix: Path, part: str, words: str) -> None:
    stand_in(prefix, 'echo "$$ $PPID $PWD $TMPDIR $*"')
    with subprocess.Popen(
        [str(prefix / "dqmsquare_mirror_wrapper.sh"), part], stdout=subprocess.PIPE, text=True
    ) as process:
        said, _ = process.communicate()
    assert said == f"{process.pid} {os.getpid()} {prefix} {prefix}/tmp/{part} {words}\n"


def test_the_wrapper_refuses_another_part(prefix: Path) -> None:
    done = wrapper(prefix, "grabber-lookarea")
    assert done.returncode == 2
    assert "no part of the mirror is called 'grabber-lookarea'" in done.stderr


def test_the_wrapper_clears_away_what_one_that_was_killed_unpacked(prefix: Path) -> None:
    left = prefix / "tmp" / "server" / "_MEI123" / "library.so"
    left.parent.mkdir(parents=True)
    left.touch()
    other = prefix / "tmp" / "kept"
    other.touch()
    assert wrapper(prefix, "server").returncode == 0
    assert not left.exists()
    assert other.exists()


@pytest.fixture
def pauses(tmp_path: Path) -> tuple[str, Path]:
    """A PATH on which `sleep` only notes how long it should have slept, and its notes."""
    notes, folder = tmp_path / "pauses", tmp_path / "bin"
    folder.mkdir()
    (folder / "sleep").write_text(f'#!/bin/sh\necho "$1" >> {notes}\n')
    (folder / "sleep").chmod(0o755)
    notes.touch()
    return f"{folder}:{os.environ['PATH']}", notes


def test_restarts_that_follow_quickly_come_ever_more_slowly(prefix: Path, pauses: tuple[str, Path]) -> None:
    path, notes = pauses
    (prefix.parent / "state").mkdir()
    for _ in range(12):
        assert wrapper(prefix, "server", str(prefix.parent / "state"), path=path).returncode == 0
    expected = [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    assert [int(line) for line in notes.read_text().split()] == expected


def test_a_part_that_ran_for_long_is_restarted_at_once(prefix: Path, pauses: tuple[str, Path]) -> None:
    path, notes = pauses
    state = prefix.parent / "state"
    state.mkdir()
    (state / "restarts").write_text("7 1000\n")
    assert wrapper(prefix, "server", str(state), path=path).returncode == 0
    assert notes.read_text() == ""


@pytest.mark.parametrize(("result", "pause"), [("success", []), ("exit-code", [80]), ("watchdog", [80])])
def test_a_part_that_was_told_to_end_is_started_at_once(
    prefix: Path, pauses: tuple[str, Path], result: str, pause: list[int]
) -> None:
    path, notes = pauses
    state = prefix.parent / "state"
    state.mkdir()
    (state / "restarts").write_text(f"5 {int(time.time())}\n")
    assert wrapper(prefix, "ended", str(state), result=result).returncode == 0
    assert wrapper(prefix, "server", str(state), path=path).returncode == 0
    assert [int(line) for line in notes.read_text().split()] == pause
