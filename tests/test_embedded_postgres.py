"""The embedded PostgreSQL server of demo and tests."""

import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from runtime.supervisor import ProcessError
from tools.demo.data_dir import FolderError
from tools.demo.postgres import EmbeddedPostgres

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@pytest.fixture
def folder(open_folder: Path) -> Iterator[Path]:
    """A folder for the test's own server; not created yet."""
    own = open_folder / "one"
    yield own
    shutil.rmtree(own, ignore_errors=True)


def rows_of(server: EmbeddedPostgres, statement: str) -> list[tuple[object, ...]]:
    """The rows of a statement, none if it returns no rows."""
    with closing(server.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_it_starts_over_keeps_committed_data_and_reports_a_port_that_is_taken(
    folder: Path, postgres: EmbeddedPostgres
) -> None:
    """One server: each initialization costs as much as ten other tests."""

    def interrupt(_seconds: float) -> None:
        raise InterruptedError

    # The next one starts over.
    with pytest.raises(InterruptedError):
        EmbeddedPostgres(folder, durable=False, pause=interrupt).start()
    with EmbeddedPostgres(folder, durable=False) as server:
        port = server.port
        rows_of(server, "CREATE TABLE kept AS SELECT 1 AS number")
        server.create_database("kept")
        server.create_database("kept")
        server.stop()
        server.start()
        rows_of(server, "INSERT INTO kept VALUES (2)")
        server.kill()
        server.start()
        assert server.port == port
    with EmbeddedPostgres(folder, durable=False) as server:
        assert rows_of(server, "SELECT number FROM kept ORDER BY 1") == [(1,), (2,)]
        server.connect("kept").close()
    with pytest.raises(ProcessError, match="Address already in use"):
        EmbeddedPostgres(folder, port=postgres.port, durable=False).start()


def test_it_accepts_connections_from_localhost_by_tcp_only(postgres: EmbeddedPostgres) -> None:
    assert rows_of(postgres, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert rows_of(postgres, "SHOW unix_socket_directories") == [("",)]


@pytest.mark.parametrize("password", ["", "guessed"])
def test_it_requires_its_password(postgres: EmbeddedPostgres, password: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(
            host=postgres.host,
            port=postgres.port,
            user=postgres.username,
            password=password,
            dbname="template1",
        )


def test_it_makes_its_password_readable_by_its_user_only(postgres: EmbeddedPostgres) -> None:
    mode = (postgres.folder / "password").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_it_uses_utf_8_and_utc_on_every_machine(postgres: EmbeddedPostgres) -> None:
    assert rows_of(postgres, "SHOW server_encoding") == [("UTF8",)]
    assert rows_of(postgres, "SHOW timezone") == [("UTC",)]


def test_it_refuses_a_folder_that_others_can_write_to(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(FolderError, match="is writable by others"):
        EmbeddedPostgres(folder).start()


@as_root
def test_it_refuses_a_folder_of_another_user(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(FolderError, match="belongs to another user"):
        EmbeddedPostgres(folder).start()


@as_root
def test_it_does_not_open_a_closed_folder_in_order_to_run_unprivileged(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(FolderError, match="is closed to others"):
        EmbeddedPostgres(closed / "postgres").start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_it_runs_unprivileged_with_data_of_its_own(postgres: EmbeddedPostgres) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    assert Path(f"/proc/{postgres.process.pid}").stat().st_uid == nobody
    [data] = postgres.folder.glob("data-*")
    assert data.stat().st_uid == nobody
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
