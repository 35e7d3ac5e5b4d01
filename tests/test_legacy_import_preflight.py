"""Preflight checks: each difference and missing privilege is reported before any change."""

from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from legacy_import.preflight import PreflightFailed, check
from tests.legacy_mirror import LegacyMirror, graph, job, run_adopt
from tools.demo.postgres import EmbeddedPostgres

PROBLEMS = {
    "ALTER TABLE runs DROP COLUMN vmrss": "runs has no column vmrss",
    "ALTER TABLE runs ALTER rev TYPE text": "runs.rev is text, not integer",
    "ALTER TABLE runs ALTER run TYPE bigint": "runs.run is bigint, not integer",
    'ALTER TABLE graphs ALTER "timestamp" TYPE text': (
        "graphs.timestamp is text, not timestamp with time zone"
    ),
    "ALTER TABLE hoststatuses DROP COLUMN is_up": "hoststatuses has no column is_up",
    "DROP TABLE graphs": "table graphs is missing",
    "DROP TABLE graphs; CREATE VIEW graphs AS SELECT * FROM kept_graphs": "graphs is not an ordinary table",
    "CREATE TABLE legacy_meta ()": "table legacy_meta already exists, but its name is needed: rename it",
    "CREATE TABLE machines ()": "table machines already exists, but its name is needed: rename it",
    "ALTER TABLE graphs OWNER TO somebody; ALTER TABLE runs OWNER TO somebody; SET ROLE stranger": (
        "the role somebody, of which POSTGRES_USERNAME is not a member, owns runs, graphs"
    ),
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC; SET ROLE stranger": (
        "POSTGRES_USERNAME may not create tables: GRANT CREATE ON SCHEMA public"
    ),
}


@pytest.fixture(scope="module")
def legacy(postgres: EmbeddedPostgres, shared_settings: Settings) -> LegacyMirror:
    """A legacy database, in place of the production cluster's."""
    mirror = LegacyMirror(postgres, shared_settings.database(Cluster.PRODUCTION))
    mirror.write("runs", job())
    mirror.write("graphs", graph())
    mirror.execute("CREATE TABLE kept_graphs (LIKE graphs)")
    for role in ("somebody", "stranger"):
        mirror.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role}")
    return mirror


@pytest.fixture
def connection(legacy: LegacyMirror, shared_settings: Settings) -> Iterator[sa.Connection]:
    """A connection whose changes are rolled back."""
    del legacy
    engine = db.engine(shared_settings, Cluster.PRODUCTION, "tests")
    with engine.connect() as connection:
        yield connection
        connection.invalidate()
    engine.dispose()


def test_it_accepts_the_legacy_schema(connection: sa.Connection) -> None:
    check(connection)


@pytest.mark.parametrize(("statement", "problem"), PROBLEMS.items())
def test_it_reports_each_difference(connection: sa.Connection, statement: str, problem: str) -> None:
    connection.execute(sa.text(statement))
    with pytest.raises(PreflightFailed) as error:
        check(connection)
    assert problem in str(error.value)


def test_a_refused_import_changes_nothing(legacy: LegacyMirror, shared_environment: dict[str, str]) -> None:
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    legacy.execute("ALTER TABLE runs RENAME vmrss TO rss")
    before = legacy.execute(tables)
    for words in ([], ["--dry-run"]):
        status, output = run_adopt(shared_environment, *words)
        assert status == 1
        assert f"{legacy.name}: import refused, nothing was changed: runs has no column vmrss\n" in output
    assert legacy.execute(tables) == before
    legacy.execute("ALTER TABLE runs RENAME rss TO vmrss")


def test_it_refuses_an_encoding_other_than_utf8(
    postgres: EmbeddedPostgres, shared_environment: dict[str, str]
) -> None:
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
    with closing(postgres.connect("latin")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE runs (stdlog_start text)")
    status, output = run_adopt({**shared_environment, "POSTGRES_PRODUCTION_DB_NAME": "latin"})
    assert status == 1
    assert "its encoding is LATIN1" in output
    postgres.drop_database("latin")


def test_it_reports_an_unreachable_database_once(shared_environment: Mapping[str, str]) -> None:
    status, output = run_adopt({**shared_environment, "POSTGRES_PASSWORD": "not-the-password-of-the-tests"})
    assert status == 1
    assert output.count("password authentication failed") == len(Cluster)
    assert "Traceback" not in output
