"""What can't be taken over is refused by its name before anything is changed, rights included."""

from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from legacy_import.preflight import Unfit, refuse_unfit
from tests.earlier_mirror import EarlierMirror, graph, job, run_adopt
from tools.demo.postgres import EmbeddedPostgres

MISFITS = {
    "ALTER TABLE runs DROP COLUMN vmrss": "runs has no column vmrss",
    "ALTER TABLE runs ALTER rev TYPE text": "runs.rev is text, not integer",
    "ALTER TABLE runs ALTER run TYPE bigint": "runs.run is bigint, not integer",
    'ALTER TABLE graphs ALTER "timestamp" TYPE timestamp': (
        "graphs.timestamp is timestamp without time zone, not timestamp with time zone"
    ),
    "ALTER TABLE hoststatuses DROP COLUMN is_up": "hoststatuses has no column is_up",
    "DROP TABLE graphs": "it has no table graphs",
    "DROP TABLE graphs; CREATE VIEW graphs AS SELECT * FROM kept_graphs": "graphs is no ordinary table",
    "CREATE TABLE legacy_meta ()": "it has a table legacy_meta already, whose name is needed: rename it",
    "CREATE TABLE machines ()": "it has a table machines already, whose name is needed: rename it",
    "ALTER TABLE graphs OWNER TO somebody; ALTER TABLE runs OWNER TO somebody; SET ROLE stranger": (
        "the role somebody, of which POSTGRES_USERNAME is no member, owns runs, graphs"
    ),
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC; SET ROLE stranger": (
        "POSTGRES_USERNAME may not make tables in it: GRANT CREATE ON SCHEMA public"
    ),
}


@pytest.fixture(scope="module")
def earlier(postgres: EmbeddedPostgres, shared_settings: Settings) -> EarlierMirror:
    """An earlier mirror's database, in the place of the production cluster's."""
    mirror = EarlierMirror(postgres, shared_settings.database(Cluster.PRODUCTION))
    mirror.write("runs", job())
    mirror.write("graphs", graph())
    mirror.execute("CREATE TABLE kept_graphs (LIKE graphs)")
    for role in ("somebody", "stranger"):
        mirror.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role}")
    return mirror


@pytest.fixture
def connection(earlier: EarlierMirror, shared_settings: Settings) -> Iterator[sa.Connection]:
    """A connection whose changes are taken back."""
    del earlier
    engine = db.engine(shared_settings, Cluster.PRODUCTION, "tests")
    with engine.connect() as connection:
        yield connection
        connection.invalidate()
    engine.dispose()


def test_it_takes_the_tables_that_it_knows(connection: sa.Connection) -> None:
    refuse_unfit(connection)


@pytest.mark.parametrize(("statement", "sentence"), MISFITS.items())
def test_it_names_what_is_not_as_it_should_be(
    connection: sa.Connection, statement: str, sentence: str
) -> None:
    connection.execute(sa.text(statement))
    with pytest.raises(Unfit) as refused:
        refuse_unfit(connection)
    assert sentence in str(refused.value)


def test_it_says_so_and_changes_nothing(earlier: EarlierMirror, shared_environment: dict[str, str]) -> None:
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    earlier.execute("ALTER TABLE runs RENAME vmrss TO rss")
    before = earlier.execute(tables)
    for words in ([], ["--dry-run"]):
        status, said = run_adopt(shared_environment, *words)
        assert status == 1
        assert (
            f"{earlier.name}: can't be taken over, and nothing was changed: runs has no column vmrss\n"
            in said
        )
    assert earlier.execute(tables) == before
    earlier.execute("ALTER TABLE runs RENAME rss TO vmrss")


def test_a_database_that_does_not_hold_every_text_is_refused(
    postgres: EmbeddedPostgres, shared_environment: dict[str, str]
) -> None:
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
    with closing(postgres.connect("latin")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE runs (stdlog_start text)")
    status, said = run_adopt({**shared_environment, "POSTGRES_PRODUCTION_DB_NAME": "latin"})
    assert status == 1
    assert "its encoding is LATIN1" in said
    postgres.drop_database("latin")


def test_a_database_that_can_not_be_reached_is_told_once(shared_environment: Mapping[str, str]) -> None:
    status, said = run_adopt({**shared_environment, "POSTGRES_PASSWORD": "not-the-password-of-the-tests"})
    assert status == 1
    assert said.count("password authentication failed") == len(Cluster)
    assert "Traceback" not in said
