"""Migrations: their numbering, the schema that they create, and the databases that they leave alone."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import db
import db_commands
import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings
from storage.schema import MIGRATIONS, Schema, SchemaState, head_revision, migrate, read_schema
from tests.examples import core_of
from tools.demo.postgres import EmbeddedPostgres


def test_they_are_numbered_in_the_order_in_which_they_run() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    numbers = [f"{number:04}" for number in range(len(scripts), 0, -1)]
    assert [script.revision for script in scripts] == numbers
    assert all(script.path.rpartition("/")[2].startswith(f"{script.revision}_") for script in scripts)
    assert head_revision() == numbers[0]


def test_they_create_the_tables_of_this_program(settings: Settings) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.connect() as connection:
        assert read_schema(connection) == Schema(head_revision(), SchemaState.READY)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.metadata) == []
    database.dispose()


def test_they_leave_the_tables_of_another_program_alone(
    postgres: EmbeddedPostgres, environment: dict[str, str]
) -> None:
    postgres.create_database("of_another_program")
    with closing(postgres.connect("of_another_program")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE runs (name text); CREATE VIEW jobs AS SELECT * FROM runs")
    settings = dqmsquare_cfg.load({**environment, "POSTGRES_PRODUCTION_DB_NAME": "of_another_program"})
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    assert str(migrate(database)) == "tables of another program under the mirror's names: jobs, runs"
    assert sa.inspect(database).get_table_names() == ["runs"]
    database.dispose()
    postgres.drop_database("of_another_program")


@pytest.fixture
def odd_database(
    postgres: EmbeddedPostgres, environment: dict[str, str]
) -> Iterator[tuple["psycopg2.extensions.connection", Settings]]:
    """A connection that may make the database `odd`, and the settings of a mirror in it."""
    settings = dqmsquare_cfg.load({**environment, "POSTGRES_PRODUCTION_DB_NAME": "odd"})
    with closing(postgres.connect("postgres")) as connection:
        yield connection, settings
    postgres.drop_database("odd")


@pytest.mark.parametrize("encoding", core_of(["SQL_ASCII", "LATIN1"], "SQL_ASCII"))
def test_they_refuse_an_encoding_without_all_characters(
    odd_database: tuple["psycopg2.extensions.connection", Settings], encoding: str
) -> None:
    connection, settings = odd_database
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE odd TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    assert str(migrate(database)) == f"the encoding {encoding}; the mirror needs UTF8"
    assert sa.inspect(database).get_table_names() == []
    database.dispose()


def test_a_database_may_have_another_encoding_for_clients(
    odd_database: tuple["psycopg2.extensions.connection", Settings],
) -> None:
    connection, settings = odd_database
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE odd TEMPLATE template0")
        cursor.execute("ALTER DATABASE odd SET client_encoding = LATIN1")
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.connect() as of_mirror:
        assert of_mirror.scalar(sa.select(sa.literal("\u2018\u0436\u2019"))) == "\u2018\u0436\u2019"
    database.dispose()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("default_transaction_read_only = on", "cannot execute CREATE TABLE in a read-only transaction"),
        ("search_path = nowhere", "no schema has been selected to create in"),
    ],
)
def test_a_refusal_of_postgresql_is_one_line(
    odd_database: tuple["psycopg2.extensions.connection", Settings],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    reason: str,
) -> None:
    connection, _ = odd_database
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE odd TEMPLATE template0")
        cursor.execute(f"ALTER DATABASE odd SET {setting}")
    for name, value in {**environment, "POSTGRES_PRODUCTION_DB_NAME": "odd"}.items():
        monkeypatch.setenv(name, value)
    assert db_commands.main(["migrate"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == f"odd: PostgreSQL refuses: {reason}"
