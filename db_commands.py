"""Commands of `python db.py`, which run on the databases of both clusters."""

import argparse
from collections.abc import Mapping
from functools import partial

import sqlalchemy as sa

import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings
from legacy_import import cli as legacy_import
from storage import import_progress, retention
from storage.db_command_runner import Command, run_on_both
from storage.schema import SchemaState, migrate, read_schema


def main(arguments: list[str]) -> int:
    """Run a command; the exit status is 1 if it fails on either database."""
    parser = argparse.ArgumentParser(prog="db.py", description="Manage the mirror's databases.")
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {
        name: commands.add_parser(name, help=description, description=description)
        for name, (_command, description) in _COMMANDS.items()
    }
    parsers["status"].add_argument(
        "--verbose", action="store_true", help="name the runs of rows that were not imported"
    )
    legacy_import.add_arguments(
        commands.add_parser("adopt", help=legacy_import.HELP, description=legacy_import.DESCRIPTION)
    )
    options = parser.parse_args(arguments)
    settings = dqmsquare_cfg.load_or_exit()
    if options.command == "adopt":
        return legacy_import.run(options, settings)
    dqmsquare_cfg.print_errors(settings.load_warnings)
    command, _description = _COMMANDS[options.command]
    if options.command == "status":
        command = partial(_status, verbose=options.verbose)
    return run_on_both(settings, command)


def _migrate(_settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    """State of the schema, after its migration."""
    schema = migrate(database)
    return str(schema), schema.state is SchemaState.READY


def _status(
    _settings: Settings, _cluster: Cluster, database: sa.Engine, *, verbose: bool = False
) -> tuple[str, bool]:
    """State of the schema, and the progress of an import with what it skipped."""
    with database.connect() as connection:
        schema = read_schema(connection)
        is_ready = schema.state is SchemaState.READY
        progress = import_progress.read(connection) if is_ready else None
        if progress is None:
            return str(schema), is_ready
        skipped = import_progress.read_skipped(connection).lines(verbose=verbose)
    return "\n  ".join([f"{schema}; {progress}", *skipped]), is_ready


def _prune(settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    """Number of jobs whose logs and time series were deleted."""
    if settings.job_log_retention is None:
        return "nothing to delete: JOB_LOG_RETENTION_DAYS is 0", True
    with database.connect() as connection:
        schema = read_schema(connection)
    if schema.state is not SchemaState.READY:
        return str(schema), False
    pruned = sum(retention.prune(database, settings.job_log_retention))
    return f"deleted logs and time series of {pruned} jobs", True


# Commands with their descriptions.
_COMMANDS: Mapping[str, tuple[Command, str]] = {
    "migrate": (_migrate, "Migrate both databases to the current schema."),
    "status": (
        _status,
        "Show the schema revision of both databases, and the progress of an import with what it skipped.",
    ),
    "prune": (
        _prune,
        "Delete logs and time series of jobs that are older than JOB_LOG_RETENTION_DAYS.",
    ),
}
