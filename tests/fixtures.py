"""Fixtures: a real PostgreSQL, a simulated DQM² over real HTTPS, the demo, a Chromium.

Each test has two databases of its own (`tests/databases.py`). Tests see nothing of the user's environment and
`.env`.
"""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.util import LRUCache
from werkzeug.routing import Rule

import db
import dqmsquare_cfg
from dqm2 import command_client
from dqmsquare_cfg import Cluster
from runtime import logging_setup
from runtime.supervisor import MEMORY_ENVIRONMENT
from server import create_app
from simulator.simulator import Simulator
from storage.schema import migrate
from tests import skips
from tests.control_room import Visitor
from tests.databases import Databases
from tests.demo_process import DemoProcess, demo_ports
from tests.mirrored_cluster import MirroredCluster
from tests.processes import is_alive
from tests.served import served
from tests.waiting import TIMEOUT_S
from tools.demo.data_dir import BASE
from tools.demo.postgres import EmbeddedPostgres
from tools.screenshots import chromium

_CLUSTER_SETTING = {
    Cluster.PRODUCTION: "POSTGRES_PRODUCTION_DB_NAME",
    Cluster.PLAYBACK: "POSTGRES_PLAYBACK_DB_NAME",
}
# In memory a database is copied in a tenth of the time.
_MEMORY = Path("/dev/shm")
_POSTGRES_BYTES = 2 << 30
# The id of the process that made the folder follows.
_FOLDER_PREFIX = "dqmsquare-tests-"
_MAX_STATEMENTS = 1000
_FASTER_PLAYWRIGHT = Path(__file__).parent / "browser" / "faster_playwright.cjs"
# Without memory for what it draws, Chromium makes every frame and shows it blank. Nobody looks at it.
_BLANK_FRAMES = "--force-gpu-mem-available-mb=0"


@pytest.fixture(scope="session", autouse=True)
def _no_log_lines_in_progress(pytestconfig: pytest.Config) -> Iterator[None]:
    """Drop the log lines of servers in threads between setup and test, when output is not captured."""
    write = logging_setup._StderrHandler.emit

    def write_if_captured(handler: logging_setup._StderrHandler, record: logging.LogRecord) -> None:
        if sys.stderr is not sys.__stderr__ or pytestconfig.option.capture == "no":
            write(handler, record)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(logging_setup._StderrHandler, "emit", write_if_captured)
        yield


class _Bytecode(BytecodeCache):
    """Compiled templates in memory, by file and content."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take the code of a template that is known."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


@pytest.fixture(scope="session", autouse=True)
def _templates_compiled_once() -> Iterator[None]:
    """Keep compiled templates: each test has its own application, which would compile them again."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Flask, "jinja_options", {"bytecode_cache": _Bytecode()})
        yield


@pytest.fixture(scope="session", autouse=True)
def _routes_compiled_once() -> Iterator[None]:
    """Keep what is compiled of routes, which is most of the work of making an application."""
    compile_rule = Rule.compile
    compiled: dict[tuple[object, ...], Rule] = {}

    def compile_once(rule: Rule) -> None:
        key = (rule.rule, rule.subdomain, repr(rule.defaults), rule.merge_slashes)
        known = compiled.get(key)
        if known is None:
            compile_rule(rule)
            compiled[key] = rule
            return
        rule.arguments |= known.arguments
        rule._parts, rule._trace, rule._converters = known._parts, known._trace, known._converters
        rule._build = known._build.__func__.__get__(rule)  # type: ignore[attr-defined]
        rule._build_unknown = known._build_unknown.__func__.__get__(rule)  # type: ignore[attr-defined]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rule, "compile", compile_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _statements_compiled_once() -> Iterator[None]:
    """Keep compiled SQL statements: each test has its own engines, which would compile them again."""
    compiled = LRUCache[Any, Any](_MAX_STATEMENTS)
    with pytest.MonkeyPatch.context() as patched:
        # Dialects are part of a statement's key. Those of the one PostgreSQL are alike.
        patched.setattr(PGDialect_psycopg2, "__eq__", lambda dialect, other: type(dialect) is type(other))
        patched.setattr(PGDialect_psycopg2, "__hash__", lambda dialect: hash(type(dialect)))
        options = {"compiled_cache": compiled}
        patched.setattr(sa, "create_engine", partial(sa.create_engine, execution_options=options))
        yield


@pytest.fixture(scope="session", autouse=True)
def _patient_handshakes() -> Iterator[None]:
    """Give a loaded machine time to connect to DQM² for a command; other processes have their 5 seconds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command_client, "_CONNECT_S", TIMEOUT_S)
        yield


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Undo a test's logging configuration."""
    yield
    root = logging.getLogger()
    for handler in [
        handler for handler in root.handlers if type(handler).__module__ == logging_setup.__name__
    ]:
        root.removeHandler(handler)
        handler.close()
    logging.captureWarnings(capture=False)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A temporary folder that all users can traverse, unlike `tmp_path`: PostgreSQL does not run as root."""
    place = _MEMORY if _can_hold_postgres(_MEMORY) else BASE
    _remove_leftovers(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=place))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL; tests that stop it start it again."""
    with EmbeddedPostgres(open_folder / "postgres", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_database(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of the template: an empty database with the current schema."""
    name = "migrated"
    postgres.create_database(name)
    databases = {Cluster.PRODUCTION: name, Cluster.PLAYBACK: "postgres"}
    settings = dqmsquare_cfg.load(_environment(postgres, databases, tmp_path_factory.mktemp("migration")))
    engine = db.engine(settings, Cluster.PRODUCTION, "tests")
    migrate(engine)
    engine.dispose()
    return name


@pytest.fixture(scope="session")
def empty_databases(postgres: EmbeddedPostgres, migrated_database: str) -> Iterator[Databases]:
    """Empty databases with the current schema."""
    with Databases(postgres, migrated_database) as made:
        yield made


@pytest.fixture
def databases(empty_databases: Databases) -> Iterator[Mapping[Cluster, str]]:
    """Names of two empty databases with the current schema."""
    with _two(empty_databases) as names:
        yield names


@pytest.fixture
def environment(
    postgres: EmbeddedPostgres, databases: Mapping[Cluster, str], tmp_path: Path
) -> dict[str, str]:
    """The whole environment of a program under test, with its own databases and folders.

    It has no DQM²; that of `simulated_environment` is the simulator.
    """
    return _environment(postgres, databases, tmp_path)


@pytest.fixture
def settings(environment: Mapping[str, str]) -> dqmsquare_cfg.Settings:
    """The settings in `environment`."""
    return dqmsquare_cfg.load(environment)


@pytest.fixture
def app(settings: dqmsquare_cfg.Settings) -> Flask:
    """The web application with `settings`."""
    return create_app(settings)


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    """A client of `app`, without a server in between."""
    with app.test_client() as client:
        yield client


@pytest.fixture
def mirrored(settings: dqmsquare_cfg.Settings) -> MirroredCluster:
    """The production cluster, in which nothing has been mirrored."""
    return MirroredCluster(settings)


@pytest.fixture(scope="module")
def shared_environment(
    postgres: EmbeddedPostgres, empty_databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Like `environment`, shared by the tests of a module."""
    with _two(empty_databases) as names:
        yield _environment(postgres, names, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared_settings(shared_environment: Mapping[str, str]) -> dqmsquare_cfg.Settings:
    """The settings in `shared_environment`."""
    return dqmsquare_cfg.load(shared_environment)


@pytest.fixture(scope="module")
def without_data(shared_settings: dqmsquare_cfg.Settings) -> FlaskClient:
    """A client of an application with `shared_settings`, in whose databases the module writes nothing."""
    return create_app(shared_settings).test_client()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A DQM² without documents or activity of its own; requests to dead machines time out quickly."""
    with Simulator(tmp_path / "simulator", relay_timeout_s=0.5) as running:
        running.control.dead_machine_timeout_s = 0.1
        yield running


@pytest.fixture
def session(simulator: Simulator) -> Iterator[requests.Session]:
    """An HTTP session with the client certificate that `simulator` accepts."""
    with simulator.session() as session:
        yield session


@pytest.fixture
def simulated_environment(environment: Mapping[str, str], simulator: Simulator) -> dict[str, str]:
    """`environment` with the URL and the credentials of `simulator`."""
    return {
        **environment,
        "CMSWEB_FRONTEND_PROXY_URL": simulator.base_url,
        "CMSWEB_CA_PATH": str(simulator.ca_path),
        "SERVER_GRID_CERT_PATH": str(simulator.client_cert_path),
        "SERVER_GRID_KEY_PATH": str(simulator.client_key_path),
        "DQM_FFF_SECRET": simulator.secret,
    }


@pytest.fixture
def brisk_environment(simulated_environment: Mapping[str, str]) -> dict[str, str]:
    """`simulated_environment` of a grabber that polls every 0.1 s."""
    return {**simulated_environment, "GRABBER_SLEEP_TIME_INFO": "0.1"}


@pytest.fixture
def brisk_settings(brisk_environment: Mapping[str, str]) -> dqmsquare_cfg.Settings:
    """The settings in `brisk_environment`."""
    return dqmsquare_cfg.load(brisk_environment)


@pytest.fixture
def simulated_settings(simulated_environment: Mapping[str, str]) -> dqmsquare_cfg.Settings:
    """The settings in `simulated_environment`."""
    return dqmsquare_cfg.load(simulated_environment)


@pytest.fixture
def _early_parser_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a grabber of this process use parser processes from 60 headers on, for 10 documents at a time."""
    monkeypatch.setattr("grabbing.machine_sync._MIN_POOL_HEADERS", 60)
    monkeypatch.setattr("grabbing.parser_pool.ParserPool.batch_size", 10)


@pytest.fixture
def two_user_settings(simulated_settings: dqmsquare_cfg.Settings) -> dqmsquare_cfg.Settings:
    """`simulated_settings` with the users shifter and expert."""
    return replace(simulated_settings, dqm_cr_usernames={"shifter": "first", "expert": "second"})


@pytest.fixture
def url(settings: dqmsquare_cfg.Settings) -> Iterator[str]:
    """The URL, without trailing slash, of a server in a thread of its own."""
    with served(settings) as url:
        yield url


@pytest.fixture
def visitor(simulated_settings: dqmsquare_cfg.Settings) -> Iterator[Visitor]:
    """A visitor who is signed in to a Control Room that sends its commands to `simulator`."""
    with served(simulated_settings) as url:
        yield Visitor(url).sign_in()


@pytest.fixture(scope="module")
def demo(open_folder: Path) -> Iterator[DemoProcess]:
    """A demo that is ready, with accelerated time."""
    with DemoProcess(open_folder / "demo", demo_ports()) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium that draws nothing but canvases; without one the test is skipped."""
    executable = skips.require(chromium.PACKAGE)
    with pytest.MonkeyPatch.context() as patched:
        # Playwright's Node.js uses only /tmp, which may not be writable; Python finds another folder.
        patched.setenv("TMPDIR", tempfile.gettempdir())
        patched.setenv("NODE_OPTIONS", f'--require="{_FASTER_PLAYWRIGHT}"')
        with sync_playwright() as playwright:
            running = playwright.chromium.launch(
                executable_path=executable, args=[*chromium.OPTIONS, _BLANK_FRAMES]
            )
            yield running
            running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a new browser context, without cookies."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def _remove_leftovers(place: Path) -> None:
    """Remove the folders of test runs that were killed: in memory they would stay until the next boot."""
    for folder in place.glob(f"{_FOLDER_PREFIX}*"):
        process = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if process.isdigit() and not is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _can_hold_postgres(folder: Path) -> bool:
    """Whether a folder can hold PostgreSQL's data and execute its binaries."""
    if not os.access(folder, os.W_OK):
        return False
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize > _POSTGRES_BYTES and not status.f_flag & os.ST_NOEXEC


@contextmanager
def _two(databases: Databases) -> Iterator[Mapping[Cluster, str]]:
    with databases.lend(2) as (production, playback):
        yield {Cluster.PRODUCTION: production, Cluster.PLAYBACK: playback}


def _environment(
    postgres: EmbeddedPostgres, databases: Mapping[Cluster, str], folder: Path
) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        **MEMORY_ENVIRONMENT,
        "ENV": "development",
        "ENV_FILE": "",
        **postgres.settings,
        **{_CLUSTER_SETTING[cluster]: name for cluster, name in databases.items()},
        # Nothing listens on port 1.
        "CMSWEB_FRONTEND_PROXY_URL": "https://127.0.0.1:1/dqm/dqm-square-origin",
        "SERVER_GRID_CERT_PATH": str(folder / "usercert.pem"),
        "SERVER_GRID_KEY_PATH": str(folder / "userkey.pem"),
        "DQM_FFF_SECRET": "a-secret-of-the-tests",
        "DQM_CR_USERNAMES": "shifter:a-password-of-the-tests",
        "SERVER_METRICS_PORT": "0",
        "GRABBER_PRODUCTION_METRICS_PORT": "0",
        "GRABBER_PLAYBACK_METRICS_PORT": "0",
        "LOG_DIR": str(folder / "log"),
        "TMP_DIR": str(folder / "tmp"),
        "PSEUDONYM_SECRET": "a-mirror-secret-of-the-tests",
        "SESSION_SECRET": "a-session-secret-of-the-tests",
    }
