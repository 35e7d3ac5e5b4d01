"""Settings: one frozen object, parsed from the environment and `.env` in this module only.

Each setting is a row of `SETTINGS`: its name, description, parser and default. A test keeps `.env_sample` and
the README table in step with these rows. All missing and invalid settings are reported at once, by variable
name and never with a secret's value.
"""

import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from config import env_file, parsers, receivers
from config.parsers import InvalidValue
from config.receivers import NotifyRule, Receiver

# Time zone of the experiment: days, months, shifts and hours of the day are those of this zone.
EXPERIMENT_ZONE = ZoneInfo("Europe/Zurich")
ENVIRONMENTS = ("development", "testbed", "test4", "production")

# Each request for the cluster status keeps the gateway busy: docs/dqm2-protocol.md, "get_cluster_status".
_STATUS_MIN_S = 30

_UNVERIFIED = "TLS is NOT verified because of CMSWEB_CA_PATH: anyone can impersonate the front end"

_UNLINKED = "notifications have no link to the mirror: PUBLIC_ORIGIN is not set"


class Cluster(StrEnum):
    """The mirrored clusters, named as in settings and URLs."""

    PRODUCTION = "production"
    PLAYBACK = "playback"


class SettingsError(Exception):
    """Raised when settings are missing or invalid; `lines` has one message per problem."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Settings:
    """Parsed settings; secrets are excluded from `repr`."""

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
    public_origin: str
    cr_audit_retention_days: int
    grabber_sleep_time_info: float
    grabber_sleep_time_status: float
    grabber_debug: bool
    server_url_prefix: str
    server_former_url_prefix: str
    server_host: str
    server_port: int
    server_workers: int
    server_threads: int
    server_debug: bool
    server_metrics_port: int
    grabber_production_metrics_port: int
    grabber_playback_metrics_port: int
    server_simulator_run_keys: tuple[str, ...]
    tested_fff_release: str
    run_links: tuple[tuple[str, str], ...]
    experts: tuple[tuple[str, parsers.Contact], ...]
    experts_url: str
    frontend_api_query_interval: int
    logger_rotation_time: int
    logger_max_n_log_files: int
    log_format: str
    log_dir: Path | None
    tmp_dir: Path
    pseudonym_secret: str = field(repr=False)
    session_secret: str = field(repr=False)
    stuck_after_s: int
    missing_after_s: int
    job_log_retention_days: int
    stale_after_s: int
    late_file_after_s: int
    redaction_allowed_hosts: tuple[str, ...]
    notify_urls: tuple[Receiver, ...] = field(repr=False)
    notify_rules: tuple[NotifyRule, ...]
    load_warnings: tuple[str, ...] = ()

    @property
    def is_development(self) -> bool:
        """Whether this is a developer's machine rather than a deployment."""
        return self.env == "development"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about valid but probably unintended settings, for the log at startup."""
        unverified = (_UNVERIFIED,) if self.cmsweb_ca_path is False else ()
        unlinked = (_UNLINKED,) if self.notify_urls and not self.public_url else ()
        return (*self.load_warnings, *unverified, *unlinked)

    @property
    def public_url(self) -> str:
        """The mirror's URL for browsers, without a trailing slash; empty if it is not known."""
        if self.public_origin:
            return f"{self.public_origin}{self.server_url_prefix}"
        if self.is_development:
            return f"http://{self.server_host}:{self.server_port}{self.server_url_prefix}"
        return ""

    @property
    def job_log_retention(self) -> timedelta | None:
        """Age limit of job logs and time series; `None` keeps them forever."""
        return timedelta(days=self.job_log_retention_days) if self.job_log_retention_days else None

    @property
    def audit_retention(self) -> timedelta | None:
        """Age limit of audit log entries; `None` keeps them forever."""
        return timedelta(days=self.cr_audit_retention_days) if self.cr_audit_retention_days else None

    def machines(self, cluster: Cluster) -> tuple[str, ...]:
        """Short host names of a cluster's machines, in configured order."""
        return self.fff_production_machines if cluster is Cluster.PRODUCTION else self.fff_playback_machines

    def database(self, cluster: Cluster) -> str:
        """Name of a cluster's database."""
        if cluster is Cluster.PRODUCTION:
            return self.postgres_production_db_name
        return self.postgres_playback_db_name

    def grabber_metrics_port(self, cluster: Cluster) -> int:
        """Port of a grabber's `/metrics`; 0 if it is disabled."""
        if cluster is Cluster.PRODUCTION:
            return self.grabber_production_metrics_port
        return self.grabber_playback_metrics_port

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Short names of all configured P5 hosts; redaction covers their short and long forms."""
        return tuple(
            dict.fromkeys(
                (self.server_fff_machine, *self.fff_production_machines, *self.fff_playback_machines)
            )
        )


@dataclass(frozen=True)
class SdNotify:
    """Notification socket of systemd, see sd_notify(3); `watchdog_s` is `None` without a watchdog."""

    address: str
    watchdog_s: float | None


def _per_environment(development: str | None, elsewhere: str | None) -> Callable[[str], str | None]:
    return lambda env: development if env == "development" else elsewhere


def _everywhere(text: str | None) -> Callable[[str], str | None]:
    return lambda _env: text


@dataclass(frozen=True)
class Setting:
    """One setting: variable, description, parser, and default by environment (`None`: no default).

    A setting with `is_generated` gets a random value in development, kept in a file of `TMP_DIR`. An empty
    value means the default, unless the setting `accepts_empty`. `former_name` is accepted with a warning until
    the next release.
    """

    name: str
    description: str
    parse: Callable[[str], Any]
    default: Callable[[str], str | None]
    is_secret: bool = False
    is_generated: bool = False
    accepts_empty: bool = False
    former_name: str | None = None


_PORT = partial(parsers.integer, minimum=1, maximum=65535)
_PORT_OR_ZERO = partial(parsers.integer, minimum=0, maximum=65535)
_DAYS_OR_ZERO = partial(parsers.integer, minimum=0, maximum=36500)

SETTINGS: tuple[Setting, ...] = (
    Setting("ENV", "deployment environment: development, testbed, test4 or production", parsers.choice(*ENVIRONMENTS), _everywhere("development")),
    Setting("POSTGRES_HOST", "PostgreSQL host, or the directory of its Unix socket", parsers.postgres_host, _everywhere("127.0.0.1")),
    Setting("POSTGRES_PORT", "PostgreSQL port", _PORT, _everywhere("5432")),
    Setting("POSTGRES_USERNAME", "PostgreSQL user", parsers.string, _everywhere("postgres")),
    Setting("POSTGRES_PASSWORD", "PostgreSQL password; required outside development", parsers.string, _per_environment("", None), is_secret=True),
    Setting("POSTGRES_SSLMODE", "TLS mode of PostgreSQL connections, as libpq's `sslmode`", parsers.choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"), _everywhere("prefer")),
    Setting("POSTGRES_PRODUCTION_DB_NAME", "database of the production cluster", parsers.database_name, _everywhere("postgres_production")),
    Setting("POSTGRES_PLAYBACK_DB_NAME", "database of the playback cluster", parsers.database_name, _everywhere("postgres")),
    Setting("CMSWEB_FRONTEND_PROXY_URL", "base URL of DQM² behind the CMSWEB front end", parsers.https_url, _everywhere("https://cmsweb.cern.ch/dqm/dqm-square-origin")),
    Setting("CMSWEB_CA_PATH", "CA file or directory that verifies the front end's certificate; empty: the default CAs; `INSECURE-DO-NOT-VERIFY` disables verification and logs a warning at startup", parsers.ca_path, _everywhere("")),
    Setting("SERVER_FFF_MACHINE", "gateway: the DQM² machine to which the front end forwards requests", parsers.host, _everywhere("dqmrubu-c2a06-03-01")),
    Setting("FFF_PLAYBACK_MACHINES", "machines of the playback cluster, separated by semicolons", parsers.machines, _everywhere("dqmrubu-c2a06-03-01;dqmfu-c2b01-45-01;dqmfu-c2b02-45-01")),
    Setting("FFF_PRODUCTION_MACHINES", "machines of the production cluster, separated by semicolons", parsers.machines, _everywhere("dqmrubu-c2a06-01-01;dqmfu-c2b03-45-01;dqmfu-c2b04-45-01")),
    Setting("SERVER_GRID_CERT_PATH", "grid certificate, the client certificate for the front end", parsers.path, _per_environment("~/.globus/usercert.pem", "/etc/robots/robotcert.pem")),
    Setting("SERVER_GRID_KEY_PATH", "private key of the grid certificate", parsers.path, _per_environment("~/.globus/userkey.pem", "/etc/robots/robotkey.pem")),
    Setting("DQM_FFF_SECRET", "secret cookie that DQM² requires", parsers.cookie_secret, _everywhere(None), is_secret=True),
    Setting("DQM_CR_USERNAMES", "Control Room users: `user:password` pairs separated by commas; a password may be a `scrypt:` or `pbkdf2:` hash; empty: no users", parsers.users, _everywhere(""), is_secret=True),
    Setting("CR_ENABLED", "whether the Control Room is enabled", parsers.boolean, _everywhere("true")),
    Setting("CR_PRODUCTION", "whether the Control Room may change the production cluster", parsers.boolean, _everywhere("true")),
    Setting("CMSWEB_HMAC_PATH", "file with the key that signs the front end's identity headers; empty: the headers are ignored", parsers.optional_path, _everywhere("")),
    Setting("CR_ALLOWED_LOGINS", "CMSWEB logins that enter the Control Room without a password, separated by commas; requires `CMSWEB_HMAC_PATH`", parsers.logins, _everywhere("")),
    Setting("TRUSTED_PROXIES", "addresses or networks of proxies whose `X-Forwarded-For` is trusted, separated by commas", parsers.networks, _everywhere("")),
    Setting("PUBLIC_ORIGIN", "scheme and host under which browsers reach the mirror, e.g. `https://cmsweb.cern.ch`; needed behind a proxy that changes `Host`, for browsers that do not send `Sec-Fetch-Site`", parsers.origin, _everywhere("")),
    Setting("CR_AUDIT_RETENTION_DAYS", "days to keep entries of the Control Room's audit log; 0 keeps them forever", _DAYS_OR_ZERO, _everywhere("0")),
    Setting("GRABBER_SLEEP_TIME_INFO", "pause between polls of the machines (s)", partial(parsers.seconds, minimum=0.1, maximum=3600), _everywhere("2")),
    Setting("GRABBER_SLEEP_TIME_STATUS", "pause between requests for the cluster status (s)", partial(parsers.seconds, minimum=_STATUS_MIN_S, maximum=86400), _everywhere("60")),
    Setting("GRABBER_DEBUG", "debug logging in the grabbers", parsers.boolean, _everywhere("false")),
    Setting("SERVER_URL_PREFIX", "path prefix of all URLs", parsers.url_prefix, _per_environment("", "dqm/dqm-square")),
    Setting("SERVER_FORMER_URL_PREFIX", "path prefix of an earlier mirror, e.g. `dqm/dqm-square-k8`; its addresses are redirected to those below `SERVER_URL_PREFIX`; empty: none", parsers.url_prefix, _everywhere("")),
    Setting("SERVER_HOST", "address that the server listens on", parsers.listen_address, _per_environment("127.0.0.1", "0.0.0.0")),  # noqa: S104 - the only address of a pod
    Setting("SERVER_PORT", "port that the server listens on", _PORT, _per_environment("8887", "8084")),
    Setting("SERVER_WORKERS", "worker processes of the server", partial(parsers.integer, minimum=1, maximum=64), _everywhere("1")),
    Setting("SERVER_THREADS", "pages and API calls that a worker handles at a time; ranges of runs, searches, sign-ins and commands come in addition", partial(parsers.integer, minimum=1, maximum=256), _everywhere("8")),
    Setting("SERVER_DEBUG", "debug logging in the server", parsers.boolean, _everywhere("false")),
    Setting("SERVER_METRICS_PORT", "port of the server's `/metrics`; 0 disables it", _PORT_OR_ZERO, _everywhere("18084")),
    Setting("GRABBER_PRODUCTION_METRICS_PORT", "port of the production grabber's `/metrics`; 0 disables it", _PORT_OR_ZERO, _everywhere("18085")),
    Setting("GRABBER_PLAYBACK_METRICS_PORT", "port of the playback grabber's `/metrics`; 0 disables it", _PORT_OR_ZERO, _everywhere("18086")),
    Setting("SERVER_SIMULATOR_RUN_KEYS", "run keys offered for playback runs, separated by commas", parsers.run_keys, _everywhere("cosmic_run,pp_run,hi_run")),
    Setting("TESTED_FFF_RELEASE", "DQM² release (`fff_dqmtools`) that this mirror was tested against, shown next to the machines' releases; empty: not shown", parsers.string, _everywhere(""), former_name="DQM_FFF_RELEASE"),
    Setting("RUN_LINKS", "links of a run to other systems, `NAME=URL` separated by semicolons; `{run}` stands for its number, e.g. `DQM GUI=https://cmsweb.cern.ch/dqm/online/start?runnr={run}`; empty: none", parsers.run_links, _everywhere("")),
    Setting("EXPERTS", "contacts of experts by client, `CLIENT=NAME, PHONE, https://…` separated by semicolons, shown to everyone next to problems; CLIENT may end in `*`, and `*` alone stands for all others and for the mirror; phone and URL may be left out", parsers.contacts, _everywhere("")),
    Setting("EXPERTS_URL", "contact list of the DQM experts, an https:// URL to which problems and the guides link; empty: none", parsers.optional_link, _everywhere("")),
    Setting("FRONTEND_API_QUERY_INTERVAL", "interval between a page's requests for updates (ms)", partial(parsers.integer, minimum=500, maximum=3_600_000), _everywhere("3000")),
    Setting("LOGGER_ROTATION_TIME", "age at which a log file is rotated (h)", partial(parsers.integer, minimum=1, maximum=8760), _everywhere("24")),
    Setting("LOGGER_MAX_N_LOG_FILES", "number of rotated log files to keep", partial(parsers.integer, minimum=1, maximum=1000), _everywhere("10")),
    Setting("LOG_FORMAT", "format of log lines: text, or json for one JSON object per line", parsers.choice("text", "json"), _everywhere("text")),
    Setting("LOG_DIR", "directory of the log files; empty: logs go to standard error only", parsers.optional_path, _per_environment("log", "/cinder/dqmsquare/log"), accepts_empty=True),
    Setting("TMP_DIR", "directory for files created at run time", parsers.path, _per_environment("tmp", "/tmp")),  # noqa: S108 - private to a pod
    Setting("PSEUDONYM_SECRET", "key of the pseudonyms of machines and documents; 16 or more characters; cannot be changed later; generated in development", parsers.secret, _everywhere(None), is_secret=True, is_generated=True, former_name="MIRROR_SECRET"),
    Setting("SESSION_SECRET", "key that signs Control Room sessions; 16 or more characters; a change signs everyone out; generated in development", parsers.secret, _everywhere(None), is_secret=True, is_generated=True),
    Setting("STUCK_AFTER_S", "silence, by its machine's clock, after which a running job counts as stuck (s)", partial(parsers.integer, minimum=60, maximum=86400), _everywhere("900")),
    Setting("MISSING_AFTER_S", "longest time after the start of a run for which an expected client without a job counts as starting, not missing (s)", partial(parsers.integer, minimum=0, maximum=3600), _everywhere("300")),
    Setting("JOB_LOG_RETENTION_DAYS", "days to keep the logs, memory and event series of jobs; 0 keeps them forever; runs, jobs and file deliveries are always kept", _DAYS_OR_ZERO, _everywhere("0"), former_name="LOG_RETENTION_DAYS"),
    Setting("STALE_AFTER_S", "silence of a machine, the gateway or a grabber after which pages show a warning (s)", partial(parsers.integer, minimum=5, maximum=3600), _everywhere("30"), former_name="FRESHNESS_WARN_S"),
    Setting("LATE_FILE_AFTER_S", "delay after the end of a lumisection beyond which a delivered file counts as late, a line in the delivery graph (s)", partial(parsers.integer, minimum=1, maximum=86400), _everywhere("120"), former_name="DELIVERY_LATE_S"),
    Setting("REDACTION_ALLOWED_HOSTS", "host names below cern.ch that redaction keeps, separated by commas", parsers.hosts, _everywhere("cmsweb.cern.ch,cmsoms.cern.ch"), former_name="PUBLIC_SITES"),
    Setting("NOTIFY_URLS", "receivers of notifications, `NAME=URL` separated by blanks or semicolons, where URL is one that apprise knows (https://appriseit.com/services/), e.g. `shift=mmosts://mattermost.web.cern.ch/TOKEN`; empty: none", receivers.receivers, _everywhere(""), is_secret=True),
    Setting("NOTIFY_RULES", "what receivers are notified of, `NAME: KEY=VALUE,VALUE …` separated by semicolons, with the keys cluster, kind, client, group and hours (docs/operator.md, \"Notifications\"); a receiver without a rule is notified of everything", receivers.rules, _everywhere("")),
)  # fmt: skip


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Parse the settings from the environment (default: the process's) and the file named by `ENV_FILE`.

    `ENV_FILE` defaults to `.env`; empty means no file. The environment takes precedence. Raises SettingsError
    with one line for each missing or invalid value and for each line of the file that cannot be parsed.
    Unknown names are reported for the file alone, in `Settings.warnings`: the environment has many that are
    not the mirror's.
    """
    environment = os.environ if environment is None else environment
    file = env_file.read(environment.get("ENV_FILE"), _accepted_names())
    errors = [*file.errors]
    # A trailing newline in a secret would break every request.
    texts = {name: text.strip() for name, text in {**file.values, **environment}.items()}
    env = texts.get("ENV") or "development"
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        try:
            values[setting.name.lower()] = _value(setting, texts, env)
        except InvalidValue as error:
            errors.append(f"{setting.name} {error}")
    errors += _cross_checks(values)
    if not errors:
        errors += _generate_secrets(values)
    if errors:
        raise SettingsError(errors)
    return Settings(**values, load_warnings=(*file.warnings, *_renaming_warnings(texts)))


def load_or_exit() -> Settings:
    """Parse the settings; print any errors to stderr and exit with status 2."""
    try:
        return load()
    except SettingsError as error:
        exit_with_errors(error.lines)


def read_sd_notify() -> SdNotify | None:
    """Take systemd's variables out of the environment, so that child processes do not inherit them."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    # WATCHDOG_PID is not checked: it is the executable's outer process, which only unpacks this one.
    watchdog_us = os.environ.pop("WATCHDOG_USEC", "")
    if not address:
        return None
    return SdNotify(address, int(watchdog_us) / 1e6 if re.fullmatch(r"[1-9][0-9]*", watchdog_us) else None)


def exit_with_errors(lines: Sequence[str]) -> NoReturn:
    """Print the errors to stderr and exit with status 2."""
    print_errors(lines)
    raise SystemExit(2)


def print_errors(lines: Sequence[str]) -> None:
    """Print each line to stderr."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _accepted_names() -> list[str]:
    names = [setting.name for setting in SETTINGS]
    return [*names, *(setting.former_name for setting in SETTINGS if setting.former_name is not None)]


def _value(setting: Setting, texts: Mapping[str, str], env: str) -> Any:
    """Parsed value of a setting; `None` for a secret that is to be generated."""
    text = _text(setting, texts)
    if text is None or (text == "" and not setting.accepts_empty):
        if setting.is_generated and env == "development":
            return None
        text = setting.default(env)
    if text is None:
        raise InvalidValue(f"is not set and has no default: {setting.description}")
    if parsers.is_placeholder(text):
        raise InvalidValue(f"is still a placeholder: {setting.description}")
    return setting.parse(text)


def _text(setting: Setting, texts: Mapping[str, str]) -> str | None:
    if setting.former_name is None or setting.former_name not in texts:
        return texts.get(setting.name)
    if setting.name in texts:
        raise InvalidValue(f"and {setting.former_name}, its former name, are both set; remove the latter")
    return texts[setting.former_name]


def _renaming_warnings(texts: Mapping[str, str]) -> list[str]:
    return [
        f"{setting.former_name} is now called {setting.name}; the next release will ignore the former name"
        for setting in SETTINGS
        if setting.former_name in texts
    ]


def _cross_checks(values: Mapping[str, Any]) -> Iterator[str]:
    """Errors in the combination of settings; one that failed to parse is missing from `values`."""
    if values.get("postgres_production_db_name", 0) == values.get("postgres_playback_db_name", 1):
        yield "POSTGRES_PLAYBACK_DB_NAME is also the production cluster's database; each needs its own"
    if values.get("cr_allowed_logins") and values.get("cmsweb_hmac_path", 0) is None:
        yield "CR_ALLOWED_LOGINS requires CMSWEB_HMAC_PATH, the key that authenticates logins"
    prefix, former = values.get("server_url_prefix", ""), values.get("server_former_url_prefix", "")
    if former and f"{prefix}/".startswith(f"{former}/"):
        yield "SERVER_FORMER_URL_PREFIX contains SERVER_URL_PREFIX, so its addresses would not be free"
    urls, rules = values.get("notify_urls"), values.get("notify_rules", ())
    if urls is not None and (unknown := [*receivers.unknown_receivers(rules, urls)]):
        yield f"NOTIFY_RULES has a rule of {unknown[0]!r}, which is no receiver in NOTIFY_URLS"
    production, playback = values.get("fff_production_machines", ()), values.get("fff_playback_machines", ())
    if shared := set(production) & set(playback):
        yield f"FFF_PLAYBACK_MACHINES contains {min(shared)!r}, which is in FFF_PRODUCTION_MACHINES too"


def _generate_secrets(values: dict[str, Any]) -> list[str]:
    """Fill in the secrets that development generates; returns the errors."""
    for setting in SETTINGS:
        if setting.is_generated and values[setting.name.lower()] is None:
            path = _secret_path(setting, values["tmp_dir"])
            try:
                values[setting.name.lower()] = _persistent_secret(path)
            except OSError as error:
                reason = f"and TMP_DIR, where it would be kept, can't be used: {path}: {error.strerror}"
                return [f"{setting.name} is not set, {reason}"]
    return []


def _secret_path(setting: Setting, folder: Path) -> Path:
    """File of a generated secret; one that was generated under the setting's former name is kept."""
    if setting.former_name is not None and (former := folder / setting.former_name.lower()).exists():
        return former
    return folder / setting.name.lower()


def _persistent_secret(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Linked into place when complete: of several programs that start at once, one generates it for all.
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_text().strip()
