"""Settings: parsing of the environment and `.env`, error messages, documentation of every setting."""

import os
import re
from functools import partial
from pathlib import Path

import pytest
from dotenv import dotenv_values

import dqmsquare_cfg
from config import env_file, parsers
from config.parsers import Contact
from dqmsquare_cfg import SETTINGS, Setting, Settings, SettingsError
from runtime.supervisor import MEMORY_ENVIRONMENT
from tests import fork_server
from tests.examples import core_of
from tests.served import cheap_hash
from tests.waiting import TIMEOUT_S

ROOT = Path(dqmsquare_cfg.__file__).parent
SAMPLE = ROOT / ".env_sample"
README = ROOT / "README.md"
NAMES = [setting.name for setting in SETTINGS]
RENAMED = [setting for setting in SETTINGS if setting.former_name is not None]
VALUES_OF_RENAMED = {
    "PSEUDONYM_SECRET": "a-pseudonym-secret-of-the-tests",
    "TESTED_FFF_RELEASE": "2.5.8",
    "REDACTION_ALLOWED_HOSTS": "dqm-gui.cern.ch",
}


def load_from_file(folder: Path, text: str, **environment: str) -> Settings:
    """Settings from a file with `text`, in development."""
    path = folder / "env"
    path.write_text(text)
    return dqmsquare_cfg.load(
        {"ENV_FILE": str(path), "DQM_FFF_SECRET": "abc", "TMP_DIR": str(folder), **environment}
    )


def errors_of(**environment: str) -> list[str]:
    """Error lines for an environment."""
    with pytest.raises(SettingsError) as caught:
        dqmsquare_cfg.load({"ENV_FILE": "", **environment})
    return caught.value.lines


def sample_entries() -> dict[str, tuple[str, str]]:
    """Comment above and value of each variable in `.env_sample`, commented out or not."""
    entries = {}
    comment: list[str] = []
    for line in SAMPLE.read_text().splitlines():
        if entry := re.fullmatch(r"#?([A-Z_]+)=(.*)", line):
            entries[entry[1]] = (" ".join(comment), entry[2])
        comment = [*comment, line.removeprefix("# ")] if line.startswith("# ") else []
    return entries


def run_program(program: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a program; returns its exit status and output."""
    # The first start of a program is that of its fork server, which further tests use.
    common = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **MEMORY_ENVIRONMENT}
    running = fork_server.start(program, arguments, {**common, **environment})
    output, _ = running.communicate(TIMEOUT_S)
    return running.wait(), output


def test_it_requires_only_the_dqm2_secret_in_development(tmp_path: Path) -> None:
    settings = dqmsquare_cfg.load({"ENV_FILE": "", "DQM_FFF_SECRET": "abc", "TMP_DIR": str(tmp_path)})
    assert settings.is_development
    assert settings.server_port == 8887


@pytest.mark.parametrize(
    "text",
    [
        "OMS",
        "OMS=",
        "=https://example.org/{run}",
        "OMS=http://example.org/{run}",
        "OMS=javascript:alert({run})",
        "OMS=https://example.org/",
        "OMS=https://user:password@example.org/{run}",
        "OMS=https://{run}.example.org/",
        'OMS=https://example.org/{run}"onclick="x',
        "OMS=https://example.org/{run}/{other}",
        "OMS=https://example.org/ {run}",
        "OMS=https://example.org/{run};OMS=https://example.com/{run}",
        "x" * 41 + "=https://example.org/{run}",
    ],
)
def test_it_rejects_an_invalid_link_of_a_run(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="RUN_LINKS"):
        load_from_file(tmp_path, f"RUN_LINKS={text}\n")


def test_it_takes_links_of_a_run(tmp_path: Path) -> None:
    links = (
        "OMS=https://cmsoms.cern.ch/cms/runs/report?cms_run={run}&x=1; DQM GUI = https://example.org/{run} ;"
    )
    assert load_from_file(tmp_path, f"RUN_LINKS={links}\n").run_links == (
        ("OMS", "https://cmsoms.cern.ch/cms/runs/report?cms_run={run}&x=1"),
        ("DQM GUI", "https://example.org/{run}"),
    )


@pytest.mark.parametrize(
    "text", ["http://example.org/", "experts", "https://a:b@example.org/", "//example.org"]
)
def test_it_rejects_an_invalid_contact_list(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="EXPERTS_URL"):
        load_from_file(tmp_path, f"EXPERTS_URL={text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "ecal",
        "ecal=",
        "=ECAL, 16 1234",
        "e*l=ECAL, 16 1234",
        "ecal=ECAL, 16 1234, 16 5678",
        "ecal=ECAL, http://example.org/",
        "ecal=ECAL, https://user:hunter2@example.org/",
        "ecal=ECAL, javascript:alert(1)",
        "ecal=<b>ECAL</b>",
        "ecal=hunter2:x, 16 1234",
        "ecal=ECAL, hunter2",
        "ecal=ECAL; ECAL=hunter2",
        "a" * 65 + "=ECAL",
    ],
)
def test_it_rejects_an_invalid_contact_without_quoting_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"EXPERTS has .*entry \d") as caught:
        load_from_file(tmp_path, f"EXPERTS={text}\n")
    assert "hunter2" not in str(caught.value)


def test_it_takes_contacts(tmp_path: Path) -> None:
    text = "ECAL*=ECAL on call, 16 1234, https://example.org/?a=b ; *=DQM expert;"
    assert load_from_file(tmp_path, f"EXPERTS={text}\n").experts == (
        ("ecal*", Contact("ECAL on call", "16 1234", "https://example.org/?a=b")),
        ("*", Contact("DQM expert")),
    )


def test_it_keeps_generated_secrets(tmp_path: Path) -> None:
    first, second = load_from_file(tmp_path, ""), load_from_file(tmp_path, "")
    assert first.pseudonym_secret == second.pseudonym_secret != first.session_secret
    assert (tmp_path / "pseudonym_secret").stat().st_mode & 0o077 == 0


def test_it_names_the_setting_of_a_folder_that_can_keep_no_secret(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"PSEUDONYM_SECRET is not set, and TMP_DIR, .*Not a directory"):
        load_from_file(tmp_path, "", TMP_DIR=str(tmp_path / "file" / "tmp"))


def test_it_finds_a_secret_generated_under_its_former_name(tmp_path: Path) -> None:
    (tmp_path / "mirror_secret").write_text("generated-by-an-earlier-release\n")
    settings = load_from_file(tmp_path, "")
    assert settings.pseudonym_secret == "generated-by-an-earlier-release"
    assert not (tmp_path / "pseudonym_secret").exists()


def test_the_environment_takes_precedence_over_the_file(tmp_path: Path) -> None:
    settings = load_from_file(tmp_path, "GRABBER_DEBUG=true\nSERVER_PORT=1234\n", SERVER_PORT="4321")
    assert (settings.grabber_debug, settings.server_port) == (True, 4321)


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("DQM_FFF_SECRET=plain", "plain"),
        ("export DQM_FFF_SECRET = 'quoted # value'  # comment", "quoted # value"),
        ('DQM_FFF_SECRET="${HOME}"', "${HOME}"),
    ],
)
def test_it_reads_dotenv_syntax_without_interpolation(tmp_path: Path, line: str, secret: str) -> None:
    path = tmp_path / "env"
    path.write_text(f"{line}\n")
    assert env_file.read(str(path), NAMES).values == {"DQM_FFF_SECRET": secret}


@pytest.mark.parametrize("prefix", ["..", "../x", "dqm/./x", "dqm/.."])
def test_it_rejects_a_prefix_that_clients_resolve(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(SettingsError, match="SERVER_URL_PREFIX"):
        load_from_file(tmp_path, f"SERVER_URL_PREFIX={prefix}\n")


def test_it_takes_a_prefix_with_dots_in_it(tmp_path: Path) -> None:
    settings = load_from_file(tmp_path, "SERVER_URL_PREFIX=dqm/..x/v1.0\n")
    assert settings.server_url_prefix == "/dqm/..x/v1.0"


def test_it_warns_of_a_setting_that_the_file_has_twice(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("SERVER_PORT=1234\nDQM_FFF_SECRET=abc\nSERVER_PORT=hunter2\n")
    read = env_file.read(str(file), NAMES)
    assert read.values["SERVER_PORT"] == "hunter2"
    assert read.warnings == (
        f"ENV_FILE {str(file)!r}, line 3 sets SERVER_PORT again; the earlier value is not used",
    )


@pytest.mark.parametrize("line", ['CR_PRODUCTION="false', "CR_PRODUCTION false", "CR_PRODUCTION"])
def test_it_rejects_a_line_of_the_file_that_cannot_be_parsed(tmp_path: Path, line: str) -> None:
    file = tmp_path / "env"
    file.write_text(f"# permissions\n\nDQM_FFF_SECRET=abc\n\n{line}\nSERVER_PORT=1234\n")
    assert errors_of(ENV_FILE=str(file)) == [
        f"ENV_FILE {str(file)!r}, line 5 cannot be parsed; accepted: NAME=value"
    ]


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("POSTGRES_PASSWROD", "POSTGRES_PASSWROD, which is not a setting; did you mean POSTGRES_PASSWORD?"),
        ("server_port", "server_port, which is not a setting; did you mean SERVER_PORT?"),
        ("POSTGRES_USER", "POSTGRES_USER, which is not a setting; did you mean POSTGRES_USERNAME?"),
        ("COMPOSE_PROJECT", "COMPOSE_PROJECT, which is not a setting"),
        # Part of a key that was wrapped over several lines.
        ("hunter2xpk4V+/mQ", "a name that is not a setting"),
    ],
)
def test_it_warns_of_an_unknown_name_in_the_file_without_its_value(
    tmp_path: Path, name: str, description: str
) -> None:
    [warning] = load_from_file(tmp_path, f"DQM_FFF_SECRET=abc\n\n{name}=hunter2\n", SERVER_PROT="1").warnings
    assert warning == f"ENV_FILE {str(tmp_path / 'env')!r}, line 3 sets {description}"
    assert "hunter2" not in warning


@pytest.mark.parametrize(
    "words",
    core_of(
        [("grabber", "production", "--once"), ("db", "status"), ("db", "adopt", "--dry-run")],
        ("grabber", "production", "--once"),
    ),
)
def test_programs_print_the_warning_once(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "env"
    file.write_text("POSTGRES_PROT=1\n")
    status, output = run_program(
        *words,
        ENV_FILE=str(file),
        DQM_FFF_SECRET="abc",
        # A port without a listener.
        POSTGRES_PORT="1",
        GRABBER_PRODUCTION_METRICS_PORT="0",
        LOG_DIR=str(tmp_path),
        TMP_DIR=str(tmp_path),
    )
    assert status == 1
    warning = "line 1 sets POSTGRES_PROT, which is not a setting; did you mean POSTGRES_PORT?"
    assert output.count(warning) == 1


def test_it_rejects_a_file_that_is_missing_or_not_text(tmp_path: Path) -> None:
    file = tmp_path / "env"
    assert errors_of(ENV_FILE=str(file), DQM_FFF_SECRET="abc") == [f"ENV_FILE {str(file)!r} does not exist"]
    file.write_bytes(b"DQM_FFF_SECRET=\xff\n")
    [line] = errors_of(ENV_FILE=str(file), DQM_FFF_SECRET="abc")
    assert line.endswith("cannot be read; accepted: UTF-8 text")
    [line] = errors_of(ENV_FILE=str(tmp_path), DQM_FFF_SECRET="abc")
    assert line.endswith("cannot be read: Is a directory")


def value_of(setting: Setting) -> str:
    """A valid value other than the default."""
    return VALUES_OF_RENAMED.get(setting.name, "77")


@pytest.mark.parametrize("setting", RENAMED, ids=lambda setting: setting.name)
def test_it_accepts_a_former_name_with_a_warning(tmp_path: Path, setting: Setting) -> None:
    settings = load_from_file(tmp_path, f"{setting.former_name}={value_of(setting)}\n")
    assert getattr(settings, setting.name.lower()) == setting.parse(value_of(setting))
    [warning] = settings.warnings
    assert warning.startswith(f"{setting.former_name} is now called {setting.name};")


@pytest.mark.parametrize("setting", RENAMED, ids=lambda setting: setting.name)
def test_it_rejects_a_setting_under_both_names(tmp_path: Path, setting: Setting) -> None:
    with pytest.raises(SettingsError) as caught:
        load_from_file(
            tmp_path, f"{setting.former_name}={value_of(setting)}\n", **{setting.name: value_of(setting)}
        )
    assert caught.value.lines == [
        f"{setting.name} and {setting.former_name}, its former name, are both set; remove the latter"
    ]


def test_it_strips_surrounding_white_space(tmp_path: Path) -> None:
    environment = {"ENV_FILE": "", "DQM_FFF_SECRET": " abc\n", "TMP_DIR": str(tmp_path)}
    assert dqmsquare_cfg.load(environment).dqm_fff_secret == "abc"


def test_it_reports_all_invalid_settings_at_once() -> None:
    lines = errors_of(SERVER_PORT="0", GRABBER_DEBUG="perhaps", FFF_PLAYBACK_MACHINES="a b")
    assert {line.split()[0] for line in lines} == {
        "DQM_FFF_SECRET",
        "SERVER_PORT",
        "GRABBER_DEBUG",
        "FFF_PLAYBACK_MACHINES",
    }


def test_it_reports_all_conflicts_of_settings_at_once() -> None:
    lines = errors_of(
        DQM_FFF_SECRET="abc",
        POSTGRES_PLAYBACK_DB_NAME="postgres_production",
        CR_ALLOWED_LOGINS="shifter",
        FFF_PRODUCTION_MACHINES="bu-c2f13-25-01",
        FFF_PLAYBACK_MACHINES="bu-c2f13-25-01",
    )
    assert {line.split()[0] for line in lines} == {
        "POSTGRES_PLAYBACK_DB_NAME",
        "CR_ALLOWED_LOGINS",
        "FFF_PLAYBACK_MACHINES",
    }


def test_it_requires_every_secret_outside_development() -> None:
    lines = errors_of(ENV="production")
    assert {line.split()[0] for line in lines} == {
        "DQM_FFF_SECRET",
        "PSEUDONYM_SECRET",
        "POSTGRES_PASSWORD",
        "SESSION_SECRET",
    }


@pytest.mark.parametrize("placeholder", ["CHANGEME", "<change me>", "replace_me", "XXXX"])
def test_it_rejects_a_placeholder(placeholder: str) -> None:
    [line] = errors_of(DQM_FFF_SECRET=placeholder)
    assert line.startswith("DQM_FFF_SECRET is still a placeholder")


@pytest.mark.parametrize("secret", ["with=equals", "with;semicolon", "with blank"])
def test_it_rejects_a_secret_that_no_cookie_can_carry_without_showing_it(secret: str) -> None:
    [line] = errors_of(DQM_FFF_SECRET=secret)
    assert line.startswith("DQM_FFF_SECRET ")
    assert secret not in line


@pytest.mark.parametrize(
    "damaged", ["scrypt:32768:8:1", "scrypt:32768:8:1$$", "scrypt:x:8:1$salt$00", "pbkdf2:sha256", "scrypt:"]
)
def test_it_refuses_a_password_hash_that_is_not_whole(damaged: str) -> None:
    whole = cheap_hash("hunter2")
    [line] = errors_of(DQM_FFF_SECRET="abc", DQM_CR_USERNAMES=f"shifter:{whole},expert:{damaged}")
    assert line.startswith("DQM_CR_USERNAMES has an incomplete password hash (entry 2)")
    assert parsers.users(f"shifter:{whole}") == {"shifter": whole}


def test_it_does_not_show_a_rejected_password() -> None:
    [line] = errors_of(DQM_FFF_SECRET="abc", DQM_CR_USERNAMES="shifter:hunter2,hunter3")
    assert line.startswith("DQM_CR_USERNAMES ")
    assert "hunter" not in line


def test_it_rejects_one_database_for_both_clusters() -> None:
    [line] = errors_of(
        DQM_FFF_SECRET="abc", POSTGRES_PRODUCTION_DB_NAME="mirror", POSTGRES_PLAYBACK_DB_NAME="mirror"
    )
    assert line.startswith("POSTGRES_PLAYBACK_DB_NAME ")


def test_it_has_no_secrets_in_its_repr(tmp_path: Path) -> None:
    secrets = {
        setting.name: f"secret-number-{number}-of-the-test"
        for number, setting in enumerate(SETTINGS)
        if setting.is_secret
    }
    secrets["DQM_CR_USERNAMES"] = "shifter:secret-password-of-the-test"
    secrets["NOTIFY_URLS"] = "shift=json://example.org/secret-token-of-the-test"
    settings = dqmsquare_cfg.load({"ENV_FILE": "", "TMP_DIR": str(tmp_path), **secrets})
    assert "secret-" not in repr(settings)


@pytest.mark.parametrize(
    "words",
    core_of(
        [("grabber", "production"), ("server",), ("db", "status"), ("dqmsquare_mirror", "all")],
        ("grabber", "production"),
        ("server",),
    ),
)
def test_programs_exit_with_status_2_and_a_line_per_error(words: tuple[str, ...]) -> None:
    status, output = run_program(*words, ENV_FILE="", SERVER_PORT="none")
    assert status == 2
    assert {line.split()[0] for line in output.splitlines()} == {"DQM_FFF_SECRET", "SERVER_PORT"}


def test_the_sample_has_all_settings_and_no_others() -> None:
    assert list(sample_entries()) == NAMES


def test_the_sample_describes_each_setting() -> None:
    entries = sample_entries()
    for setting in SETTINGS:
        comment, value = entries[setting.name]
        elsewhere = setting.default("production")
        assert comment.startswith(setting.description), setting.name
        if value != "CHANGEME":
            assert value == (setting.default("development") or ""), setting.name
        if elsewhere not in {setting.default("development"), None}:
            assert comment.endswith(f"Default outside development: {elsewhere}"), setting.name


def test_the_sample_is_rejected_until_its_placeholders_are_replaced() -> None:
    placeholders = {name for name, value in dotenv_values(SAMPLE).items() if value == "CHANGEME"}
    assert {line.split()[0] for line in errors_of(ENV_FILE=str(SAMPLE))} == placeholders == {"DQM_FFF_SECRET"}


def test_the_readme_describes_all_settings_and_no_others() -> None:
    rows = re.findall(r"^\| *`([A-Z][A-Z_]+)` \| (.*?) \|", README.read_text(), flags=re.MULTILINE)
    assert rows == [(setting.name, setting.description) for setting in SETTINGS]


def test_the_readme_has_the_bounds_of_numbers() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|.* \((\S+) to (\S+)\) \|$", README.read_text(), flags=re.MULTILINE)
    numbers = [(setting.name, setting.parse) for setting in SETTINGS if isinstance(setting.parse, partial)]
    assert rows == [
        (name, str(parse.keywords["minimum"]), str(parse.keywords["maximum"])) for name, parse in numbers
    ]
