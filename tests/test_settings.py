"""Settings: read from the environment and a file, refused all at once, and explained where people look."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

import dqmsquare_cfg
from dqmsquare_cfg import SETTINGS, SettingsError

ROOT = Path(dqmsquare_cfg.__file__).parent
SAMPLE = ROOT / ".env_sample"
README = ROOT / "README.md"
NAMES = [setting.name for setting in SETTINGS]


def refusal(**given: str) -> list[str]:
    """The lines with which an environment is refused."""
    with pytest.raises(SettingsError) as caught:
        dqmsquare_cfg.load({"ENV_FILE": "", **given})
    return caught.value.lines


def sample_entries() -> dict[str, tuple[str, str]]:
    """The variables of `.env_sample`, commented out or not: what is said above each, and its value."""
    entries = {}
    explanation: list[str] = []
    for line in SAMPLE.read_text().splitlines():
        if entry := re.fullmatch(r"#?([A-Z_]+)=(.*)", line):
            entries[entry[1]] = (" ".join(explanation), entry[2])
        explanation = [*explanation, line.removeprefix("# ")] if line.startswith("# ") else []
    return entries


def test_it_needs_no_more_than_the_secret_in_development(tmp_path: Path) -> None:
    settings = dqmsquare_cfg.load({"ENV_FILE": "", "DQM_FFF_SECRET": "abc", "TMP_DIR": str(tmp_path)})
    assert settings.is_development
    assert settings.server_port == 8887


def test_it_keeps_the_secrets_that_it_makes(tmp_path: Path) -> None:
    environment = {"ENV_FILE": "", "DQM_FFF_SECRET": "abc", "TMP_DIR": str(tmp_path)}
    first, second = dqmsquare_cfg.load(environment), dqmsquare_cfg.load(environment)
    assert first.mirror_secret == second.mirror_secret != first.session_secret
    assert (tmp_path / "mirror_secret").stat().st_mode & 0o077 == 0


def test_it_takes_the_environment_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("DQM_FFF_SECRET=from-the-file\nSERVER_PORT=1234\n")
    environment = {"ENV_FILE": str(file), "SERVER_PORT": "4321", "TMP_DIR": str(tmp_path)}
    settings = dqmsquare_cfg.load(environment)
    assert (settings.dqm_fff_secret, settings.server_port) == ("from-the-file", 4321)


@pytest.mark.parametrize("line", ['CR_PRODUCTION="false', "CR_PRODUCTION false", "CR_PRODUCTION"])
def test_it_refuses_a_line_of_the_file_that_sets_nothing(tmp_path: Path, line: str) -> None:
    file = tmp_path / "env"
    file.write_text(f"# who may do what\n\nDQM_FFF_SECRET=abc\n\n{line}\n")
    assert refusal(ENV_FILE=str(file)) == [
        f"ENV_FILE is {str(file)!r}, whose line 5 can't be understood; accepted: NAME=value"
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("POSTGRES_PASSWROD", "POSTGRES_PASSWROD, which is no setting; POSTGRES_PASSWORD is"),
        ("server_port", "server_port, which is no setting; SERVER_PORT is"),
        ("POSTGRES_USER", "POSTGRES_USER, which is no setting; POSTGRES_USERNAME is"),
        ("COMPOSE_PROJECT", "COMPOSE_PROJECT, which is no setting"),
        # A piece of a key that was broken over lines.
        ("hunter2xpk4V+/mQ", "what is no setting"),
    ],
)
def test_it_warns_of_a_name_in_the_file_that_is_no_setting_and_never_shows_its_value(
    tmp_path: Path, name: str, told: str
) -> None:
    file = tmp_path / "env"
    file.write_text(f"DQM_FFF_SECRET=abc\n\n{name}=hunter2\n")
    environment = {"ENV_FILE": str(file), "TMP_DIR": str(tmp_path), "SERVER_PROT": "1"}
    [warning] = dqmsquare_cfg.load(environment).warnings
    assert warning == f"ENV_FILE is {str(file)!r}, whose line 3 sets {told}"
    assert "hunter2" not in warning


@pytest.mark.parametrize(
    "program", [["grabber.py", "production", "--once"], ["db.py", "status"], ["db.py", "adopt", "--dry-run"]]
)
def test_a_program_tells_of_such_a_name_once_at_its_start(tmp_path: Path, program: list[str]) -> None:
    file = tmp_path / "env"
    file.write_text("POSTGRES_PROT=1\n")
    given = {
        "ENV_FILE": str(file),
        "DQM_FFF_SECRET": "abc",
        # Nobody is there.
        "POSTGRES_PORT": "1",
        "GRABBER_PRODUCTION_METRICS_PORT": "0",
        "LOG_DIR": str(tmp_path),
        "TMP_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, *program],
        env={"PATH": os.environ["PATH"], **given},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("line 1 sets POSTGRES_PROT, which is no setting; POSTGRES_PORT is") == 1


def test_it_refuses_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    file = tmp_path / "env"
    [line] = refusal(ENV_FILE=str(file), DQM_FFF_SECRET="abc")
    assert line.endswith("and there is no such file")
    file.write_bytes(b"DQM_FFF_SECRET=\xff\n")
    [line] = refusal(ENV_FILE=str(file), DQM_FFF_SECRET="abc")
    assert line.endswith("accepted: a text in UTF-8")
    [line] = refusal(ENV_FILE=str(tmp_path), DQM_FFF_SECRET="abc")
    assert line.endswith("which can't be read: Is a directory")


def test_it_strips_the_white_space_that_breaks_every_request(tmp_path: Path) -> None:
    environment = {"ENV_FILE": "", "DQM_FFF_SECRET": " abc\n", "TMP_DIR": str(tmp_path)}
    assert dqmsquare_cfg.load(environment).dqm_fff_secret == "abc"


def test_it_refuses_all_that_is_bad_at_once() -> None:
    lines = refusal(SERVER_PORT="0", GRABBER_DEBUG="perhaps", FFF_PLAYBACK_MACHINES="a b")
    assert {line.split()[0] for line in lines} == {
        "DQM_FFF_SECRET",
        "SERVER_PORT",
        "GRABBER_DEBUG",
        "FFF_PLAYBACK_MACHINES",
    }


def test_it_needs_every_secret_outside_development() -> None:
    lines = refusal(ENV="production")
    assert {line.split()[0] for line in lines} == {
        "DQM_FFF_SECRET",
        "MIRROR_SECRET",
        "POSTGRES_PASSWORD",
        "SESSION_SECRET",
    }


@pytest.mark.parametrize("placeholder", ["CHANGEME", "<change me>", "replace_me", "XXXX"])
def test_it_refuses_a_placeholder(placeholder: str) -> None:
    [line] = refusal(DQM_FFF_SECRET=placeholder)
    assert line.startswith("DQM_FFF_SECRET is still a placeholder")


@pytest.mark.parametrize("secret", ["with=equals", "with;semicolon", "with blank"])
def test_it_refuses_a_secret_that_no_cookie_can_carry_and_does_not_show_it(secret: str) -> None:
    [line] = refusal(DQM_FFF_SECRET=secret)
    assert line.startswith("DQM_FFF_SECRET ")
    assert secret not in line


def test_it_does_not_show_a_password_that_it_refuses() -> None:
    [line] = refusal(DQM_FFF_SECRET="abc", DQM_CR_USERNAMES="shifter:hunter2,hunter3")
    assert line.startswith("DQM_CR_USERNAMES ")
    assert "hunter" not in line


def test_it_refuses_one_database_for_both_clusters() -> None:
    [line] = refusal(
        DQM_FFF_SECRET="abc", POSTGRES_PRODUCTION_DB_NAME="mirror", POSTGRES_PLAYBACK_DB_NAME="mirror"
    )
    assert line.startswith("POSTGRES_PLAYBACK_DB_NAME ")


def test_it_shows_no_secret_in_its_repr(tmp_path: Path) -> None:
    secrets = {
        setting.name: f"secret-number-{number}-of-the-test"
        for number, setting in enumerate(SETTINGS)
        if setting.is_secret
    }
    secrets["DQM_CR_USERNAMES"] = "shifter:secret-password-of-the-test"
    settings = dqmsquare_cfg.load({"ENV_FILE": "", "TMP_DIR": str(tmp_path), **secrets})
    assert "secret-" not in repr(settings)


@pytest.mark.parametrize(
    "program", [["grabber.py", "production"], ["server.py"], ["db.py", "status"], ["-m", "tools.run"]]
)
def test_it_ends_a_program_with_status_2_and_a_line_for_each(program: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *program],
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", "SERVER_PORT": "none"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert {line.split()[0] for line in done.stderr.splitlines()} == {"DQM_FFF_SECRET", "SERVER_PORT"}


def test_the_sample_has_every_setting_and_no_other() -> None:
    assert list(sample_entries()) == NAMES


@pytest.mark.parametrize("setting", SETTINGS, ids=NAMES)
def test_the_sample_explains_a_setting_as_it_is(setting: dqmsquare_cfg.Setting) -> None:
    explanation, value = sample_entries()[setting.name]
    elsewhere = setting.default("production")
    assert explanation.startswith(setting.meaning)
    if value != "CHANGEME":
        assert value == (setting.default("development") or "")
    if elsewhere not in {setting.default("development"), None}:
        assert explanation.endswith(f"Elsewhere than in development: {elsewhere}")


def test_the_sample_is_refused_until_its_placeholders_are_replaced() -> None:
    placeholders = {name for name, value in dotenv_values(SAMPLE).items() if value == "CHANGEME"}
    with pytest.raises(SettingsError) as caught:
        dqmsquare_cfg.load({"ENV_FILE": str(SAMPLE)})
    assert {line.split()[0] for line in caught.value.lines} == placeholders == {"DQM_FFF_SECRET"}


def test_the_readme_has_every_setting_and_no_other() -> None:
    rows = re.findall(r"^\| *`([A-Z][A-Z_]+)`", README.read_text(), flags=re.MULTILINE)
    assert sorted(rows) == sorted(NAMES)
