"""Migrations: their numbering, the schema that they create, and the databases that they leave alone."""

from contextlib import closing

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import db
import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings
from storage.schema import MIGRATIONS, Schema, SchemaState, head_revision, migrate, read_schema
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
