"""The settings: one frozen object, read from the environment and `.env`, here and nowhere else.

Every setting is a row of `SETTINGS`: its name, what it is for and how its text becomes a value. A test holds
`.env_sample` and README's table against these rows. What is missing or bad is collected and told all at once,
by the variable's name, and never with a secret's value.
"""

import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, NoReturn

import config.parsers as read
from config import env_file
from config.parsers import BadValue

ENVIRONMENTS = ("development", "testbed", "test4", "production")

# The gateway's answer to this question keeps it busy: protocol, "get_cluster_status".
_STATUS_MIN_S = 30

_UNVERIFIED = "TLS is NOT verified: CMSWEB_CA_PATH says so; anyone may pose as the front end"


class Cluster(StrEnum):
    """The mirrored clusters, named as in the settings and in URLs."""

    PRODUCTION = "production"
    PLAYBACK = "playback"


class SettingsError(Exception):
    """One or more settings are missing or bad: a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Settings:
    """The settings as the program uses them; secrets are kept out of `repr`."""

    env: str
    postgres_host: str
    postgres_port: int
    postgres_username: str
    postgres_password: str = field(repr=False)
    postgres_sslmode: str
    postgres_production_db_name: str
    postgres_playback_db_name: str
    cmsweb_frontend_proxy_url: str
    cmsweb_ca_path: Path | bool
    server_fff_machine: str
    fff_playback_machines: tuple[str, ...]
    fff_production_machines: tuple[str, ...]
    server_grid_cert_path: Path
    server_grid_key_path: Path
    dqm_fff_secret: str = field(repr=False)
    dqm_cr_usernames: Mapping[str, str] = field(repr=False)
    cr_enabled: bool
    cr_production: bool
    cmsweb_hmac_path: Path | None
    cr_allowed_logins: tuple[str, ...]
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    cr_audit_retention_days: int
    grabber_sleep_time_info: float
    grabber_sleep_time_status: float
    grabber_debug: bool
    server_url_prefix: str
    server_host: str
    server_port: int
    server_workers: int
    server_threads: int
    server_debug: bool
    server_metrics_port: int
    grabber_production_metrics_port: int
    grabber_playback_metrics_port: int
    server_simulator_run_keys: tuple[str, ...]
    dqm_fff_release: str
    frontend_api_query_interval: int
    logger_rotation_time: int
    logger_max_n_log_files: int
    log_format: str
    log_dir: Path
    tmp_dir: Path
    mirror_secret: str = field(repr=False)
    session_secret: str = field(repr=False)
    stuck_after_s: int
    log_retention_days: int
    freshness_warn_s: int
    delivery_late_s: int
    public_sites: tuple[str, ...]
    unknown_in_env_file: tuple[str, ...] = ()

    @property
    def is_development(self) -> bool:
        """Whether this is a developer's machine rather than a deployment."""
        return self.env == "development"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What holds and is hardly meant, a sentence each: the programs warn of it at every start."""
        unverified = (_UNVERIFIED,) if self.cmsweb_ca_path is False else ()
        return (*self.unknown_in_env_file, *unverified)

    @property
    def log_retention(self) -> timedelta | None:
        """How long logs and series of jobs are kept; `None` for good."""
        return timedelta(days=self.log_retention_days) if self.log_retention_days else None

    @property
    def audit_retention(self) -> timedelta | None:
        """How far the Control Room's audit goes back; `None`: to its beginning."""
        return timedelta(days=self.cr_audit_retention_days) if self.cr_audit_retention_days else None

    def machines(self, cluster: Cluster) -> tuple[str, ...]:
        """The machines of a cluster in the order of the configuration, short names."""
        return self.fff_production_machines if cluster is Cluster.PRODUCTION else self.fff_playback_machines

    def database(self, cluster: Cluster) -> str:
        """The name of a cluster's database."""
        if cluster is Cluster.PRODUCTION:
            return self.postgres_production_db_name
        return self.postgres_playback_db_name

    def grabber_metrics_port(self, cluster: Cluster) -> int:
        """The port of a grabber's `/metrics`; 0 for none."""
        if cluster is Cluster.PRODUCTION:
            return self.grabber_production_metrics_port
        return self.grabber_playback_metrics_port

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Every host name of P5 in the configuration: redaction covers their short and their long form."""
        return tuple(
            dict.fromkeys(
                (self.server_fff_machine, *self.fff_production_machines, *self.fff_playback_machines)
            )
        )


@dataclass(frozen=True)
class ServiceManager:
    """Where systemd listens for news of this program, and within what time it wants them (s), if at all."""

    address: str
    news_within_s: float | None


def _per_environment(development: str | None, elsewhere: str | None) -> Callable[[str], str | None]:
    return lambda env: development if env == "development" else elsewhere


def _everywhere(text: str | None) -> Callable[[str], str | None]:
    return lambda _env: text


@dataclass(frozen=True)
class Setting:
    """One setting: its variable, what it is for, how its text is read, and its default by environment.

    A default of `None` means that there is none. One that is `made` is written at random into `TMP_DIR` at
    the first start in development.
    """

    name: str
    meaning: str
    read: Callable[[str], Any]
    default: Callable[[str], str | None]
    is_secret: bool = False
    is_made: bool = False


_PORT = partial(read.whole, least=1, most=65535)
_PORT_OR_NONE = partial(read.whole, least=0, most=65535)

SETTINGS: tuple[Setting, ...] = (
    Setting("ENV", "where this runs: development, testbed, test4 or production", read.choice(*ENVIRONMENTS), _everywhere("development")),
    Setting("POSTGRES_HOST", "PostgreSQL's host, or the folder of its socket", read.postgres_host, _everywhere("127.0.0.1")),
    Setting("POSTGRES_PORT", "PostgreSQL's port", _PORT, _everywhere("5432")),
    Setting("POSTGRES_USERNAME", "PostgreSQL's user", read.anything, _everywhere("postgres")),
    Setting("POSTGRES_PASSWORD", "PostgreSQL's password; needed outside development", read.anything, _per_environment("", None), is_secret=True),
    Setting("POSTGRES_SSLMODE", "TLS to PostgreSQL, as libpq has it", read.choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"), _everywhere("prefer")),
    Setting("POSTGRES_PRODUCTION_DB_NAME", "the production cluster's database", read.database, _everywhere("postgres_production")),
    Setting("POSTGRES_PLAYBACK_DB_NAME", "the playback cluster's database", read.database, _everywhere("postgres")),
    Setting("CMSWEB_FRONTEND_PROXY_URL", "the way in to DQM²: CMSWEB's front end", read.front_end, _everywhere("https://cmsweb.cern.ch/dqm/dqm-square-origin")),
    Setting("CMSWEB_CA_PATH", "file or folder of the authorities that the front end's certificate is verified by; empty: the usual ones; `INSECURE-DO-NOT-VERIFY` turns verification off, with a warning at every start", read.authorities, _everywhere("")),
    Setting("SERVER_FFF_MACHINE", "the gateway: the machine that the front end forwards to", read.host, _everywhere("dqmrubu-c2a06-03-01")),
    Setting("FFF_PLAYBACK_MACHINES", "machines of the playback cluster, by semicolons", read.machines, _everywhere("dqmrubu-c2a06-03-01;dqmfu-c2b01-45-01;dqmfu-c2b02-45-01")),
    Setting("FFF_PRODUCTION_MACHINES", "machines of the production cluster, by semicolons", read.machines, _everywhere("dqmrubu-c2a06-01-01;dqmfu-c2b03-45-01;dqmfu-c2b04-45-01")),
    Setting("SERVER_GRID_CERT_PATH", "the grid certificate", read.file, _per_environment("~/.globus/usercert.pem", "/etc/robots/robotcert.pem")),
    Setting("SERVER_GRID_KEY_PATH", "the grid certificate's key", read.file, _per_environment("~/.globus/userkey.pem", "/etc/robots/robotkey.pem")),
    Setting("DQM_FFF_SECRET", "the secret cookie that DQM² wants", read.cookie_secret, _everywhere(None), is_secret=True),
    Setting("DQM_CR_USERNAMES", "who may enter the Control Room: `user:password`, several by commas; a password may be a `scrypt:` or `pbkdf2:` hash; empty: nobody", read.users, _everywhere(""), is_secret=True),
    Setting("CR_ENABLED", "whether there is a Control Room", read.boolean, _everywhere("true")),
    Setting("CR_PRODUCTION", "whether the Control Room may change the production cluster", read.boolean, _everywhere("true")),
    Setting("CMSWEB_HMAC_PATH", "file of the key by which CMSWEB's front end signs who a visitor is; empty: its headers are not heeded", read.optional_file, _everywhere("")),
    Setting("CR_ALLOWED_LOGINS", "CMSWEB logins that enter the Control Room with no further password, by commas; needs `CMSWEB_HMAC_PATH`", read.logins, _everywhere("")),
    Setting("TRUSTED_PROXIES", "addresses or networks of the proxies whose `X-Forwarded-For` is believed, by commas", read.networks, _everywhere("")),
    Setting("CR_AUDIT_RETENTION_DAYS", "after so many days an entry of the Control Room's audit goes; 0: nothing goes", partial(read.whole, least=0, most=36500), _everywhere("0")),
    Setting("GRABBER_SLEEP_TIME_INFO", "pause between two polls of the machines (s)", partial(read.seconds, least=0.1, most=3600), _everywhere("2")),
    Setting("GRABBER_SLEEP_TIME_STATUS", "pause between two questions for the cluster's status (s)", partial(read.seconds, least=_STATUS_MIN_S, most=86400), _everywhere("60")),
    Setting("GRABBER_DEBUG", "log the grabbers' details", read.boolean, _everywhere("false")),
    Setting("SERVER_URL_PREFIX", "what stands before every address", read.prefix, _per_environment("", "dqm/dqm-square")),
    Setting("SERVER_HOST", "address that the server listens on", read.listen_host, _per_environment("127.0.0.1", "0.0.0.0")),  # noqa: S104 - a pod's only address
    Setting("SERVER_PORT", "port that the server listens on", _PORT, _per_environment("8887", "8084")),
    Setting("SERVER_WORKERS", "worker processes of the server", partial(read.whole, least=1, most=64), _everywhere("1")),
    Setting("SERVER_THREADS", "requests that a worker answers at a time; up to 24 commands of the Control Room wait in it besides", partial(read.whole, least=1, most=256), _everywhere("8")),
    Setting("SERVER_DEBUG", "log the server's details", read.boolean, _everywhere("false")),
    Setting("SERVER_METRICS_PORT", "port of the server's /metrics; 0: none", _PORT_OR_NONE, _everywhere("18084")),
    Setting("GRABBER_PRODUCTION_METRICS_PORT", "port of the production grabber's /metrics; 0: none", _PORT_OR_NONE, _everywhere("18085")),
    Setting("GRABBER_PLAYBACK_METRICS_PORT", "port of the playback grabber's /metrics; 0: none", _PORT_OR_NONE, _everywhere("18086")),
    Setting("SERVER_SIMULATOR_RUN_KEYS", "run keys that a playback run may be started with, by commas", read.run_keys, _everywhere("cosmic_run,pp_run,hi_run")),
    Setting("DQM_FFF_RELEASE", "release of DQM² (`fff_dqmtools`) that this mirror was checked against, shown beside those of the machines; empty: not told", read.anything, _everywhere("")),
    Setting("FRONTEND_API_QUERY_INTERVAL", "how often a page asks for what is new (ms)", partial(read.whole, least=500, most=3_600_000), _everywhere("3000")),
    Setting("LOGGER_ROTATION_TIME", "a log file is closed after so long (h)", partial(read.whole, least=1, most=8760), _everywhere("24")),
    Setting("LOGGER_MAX_N_LOG_FILES", "closed log files that are kept", partial(read.whole, least=1, most=1000), _everywhere("10")),
    Setting("LOG_FORMAT", "how a line of the log is written: text, or a JSON object", read.choice("text", "json"), _everywhere("text")),
    Setting("LOG_DIR", "folder of the log files", read.file, _per_environment("log", "/cinder/dqmsquare/log")),
    Setting("TMP_DIR", "folder of what is made at run time", read.file, _per_environment("tmp", "/tmp")),  # noqa: S108 - the pod's own
    Setting("MIRROR_SECRET", "keys the identities of machines and documents; 16 characters or more; can't be changed later; made at random in development", read.key_secret, _everywhere(None), is_secret=True, is_made=True),
    Setting("SESSION_SECRET", "signs the Control Room's sessions; 16 characters or more; a change signs everyone out; made at random in development", read.key_secret, _everywhere(None), is_secret=True, is_made=True),
    Setting("STUCK_AFTER_S", "a job that is silent for so long, by its machine's clock, is stuck (s)", partial(read.whole, least=60, most=86400), _everywhere("900")),
    Setting("LOG_RETENTION_DAYS", "after so many days the logs and series of a job go; runs, jobs and graphs stay; 0: nothing goes", partial(read.whole, least=0, most=36500), _everywhere("0")),
    Setting("FRESHNESS_WARN_S", "a machine, the gateway or a grabber that has been silent for so long makes the pages warn (s)", partial(read.whole, least=5, most=3600), _everywhere("30")),
    Setting("DELIVERY_LATE_S", "a file that is delivered later than this after the end of its lumisection is late; a line in the graph (s)", partial(read.whole, least=1, most=86400), _everywhere("120")),
    Setting("PUBLIC_SITES", "sites below cern.ch that redaction leaves readable, by commas", read.sites, _everywhere("cmsweb.cern.ch,cmsoms.cern.ch")),
)  # fmt: skip


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings from the environment and, behind it, the file that `ENV_FILE` names (`.env`; empty: none).

    Raises SettingsError with a line for each value that is missing or bad, and for each line of the file that
    sets nothing: what it was to set would go by its default unnoticed. What the file sets beyond the settings
    is told by `Settings.warnings`; the environment holds much that is not the mirror's.
    """
    environment = os.environ if environment is None else environment
    file = env_file.read(environment.get("ENV_FILE"), [setting.name for setting in SETTINGS])
    problems = [*file.refused]
    given = _given(environment, file.values)
    env = given.get("ENV") or "development"
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        try:
            values[setting.name.lower()] = _value(setting, given, env)
        except BadValue as problem:
            problems.append(f"{setting.name} {problem}")
    problems += _contradictions(values)
    if not problems:
        problems += _make_secrets(values)
    if problems:
        raise SettingsError(problems)
    return Settings(**values, unknown_in_env_file=file.unknown)


def load_or_exit() -> Settings:
    """The settings, or the end of the program with status 2 and a line for each that is missing or bad."""
    try:
        return load()
    except SettingsError as error:
        refuse(error.lines)


def take_service_manager() -> ServiceManager | None:
    """The service manager that started this program, taken: what this one starts in turn does not see it."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    # WATCHDOG_PID, the process that was started, is the executable's outer one and no use here.
    within_us = os.environ.pop("WATCHDOG_USEC", "")
    if not address:
        return None
    return ServiceManager(address, int(within_us) / 1e6 if re.fullmatch(r"[1-9][0-9]*", within_us) else None)


def refuse(lines: Sequence[str]) -> NoReturn:
    """Ends the program with status 2 and a line each on standard error, as for settings that don't hold."""
    tell(lines)
    raise SystemExit(2)


def tell(lines: Sequence[str]) -> None:
    """Says a line each on standard error."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _given(environment: Mapping[str, str], from_file: Mapping[str, str]) -> dict[str, str]:
    """What is set, white space around it stripped: a secret's trailing newline breaks every request."""
    return {name: value.strip() for name, value in {**from_file, **environment}.items()}


def _value(setting: Setting, given: Mapping[str, str], env: str) -> Any:
    text = given.get(setting.name)
    if text is None or (text == "" and setting.default(env) != ""):
        if setting.is_made and env == "development":
            return None
        text = setting.default(env)
    if text is None:
        raise BadValue(f"is not set and has no default: {setting.meaning}")
    if read.is_placeholder(text):
        raise BadValue(f"is still a placeholder: {setting.meaning}")
    return setting.read(text)


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    if values.get("postgres_production_db_name", 0) == values.get("postgres_playback_db_name", 1):
        return ["POSTGRES_PLAYBACK_DB_NAME is the production cluster's database too; each needs its own"]
    if values.get("cr_allowed_logins") and values.get("cmsweb_hmac_path", 0) is None:
        return ["CR_ALLOWED_LOGINS is of no use without CMSWEB_HMAC_PATH, by which logins are proved"]
    production, playback = values.get("fff_production_machines", ()), values.get("fff_playback_machines", ())
    if both := set(production) & set(playback):
        return [f"FFF_PLAYBACK_MACHINES holds {min(both)!r}, which FFF_PRODUCTION_MACHINES holds too"]
    return []


def _make_secrets(values: dict[str, Any]) -> list[str]:
    """Fills in the secrets that development makes for itself, kept in `TMP_DIR` from start to start."""
    for setting in SETTINGS:
        if setting.is_made and values[setting.name.lower()] is None:
            path: Path = values["tmp_dir"] / setting.name.lower()
            try:
                values[setting.name.lower()] = _kept_secret(path)
            except OSError as error:
                return [f"{setting.name} is not set and can't be kept in {path}: {error.strerror}"]
    return []


def _kept_secret(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and linked into place, so that of several programs starting at once one makes it for all.
    made = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    try:
        os.link(made, path)
    except FileExistsError:
        pass
    finally:
        made.unlink()
    return path.read_text().strip()
