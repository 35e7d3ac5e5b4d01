"""The commands of `python db.py`: what each does to both databases, and says of it."""

import argparse
from collections.abc import Mapping

import sqlalchemy as sa

import db
import dqmsquare_cfg
from db import SchemaState
from dqmsquare_cfg import Cluster, Settings
from legacy_import import cli as adoption
from storage import import_progress, retention
from storage.databases import Command, to_both


def main(arguments: list[str]) -> int:
    """Does what is asked for; exit status 1 where it could not be done."""
    parser = argparse.ArgumentParser(prog="db.py", description="Keeps the mirror's databases.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, do in _COMMANDS.items():
        commands.add_parser(name, help=do.__doc__, description=do.__doc__)
    adoption.add_arguments(commands.add_parser("adopt", help=adoption.HELP, description=adoption.DESCRIPTION))
    chosen = parser.parse_args(arguments)
    settings = dqmsquare_cfg.load_or_exit()
    if chosen.command == "adopt":
        return adoption.run(chosen, settings)
    dqmsquare_cfg.print_errors(settings.load_warnings)
    return to_both(settings, _COMMANDS[chosen.command])


def _migrate(_settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    """Brings both databases up to date."""
    found = db.migrate(database)
    return str(found), found.state is SchemaState.READY


def _status(_settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    """Says at which revision the schema of both databases is, and what is left of an earlier mirror."""
    with database.connect() as connection:
        found = db.schema(connection)
        is_ready = found.state is SchemaState.READY
        left = import_progress.read(connection) if is_ready else None
    return "; ".join(str(told) for told in (found, left) if told is not None), is_ready


def _prune(settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    """Takes away logs and series of jobs that are older than JOB_LOG_RETENTION_DAYS."""
    if settings.job_log_retention is None:
        return "all logs and series are kept: JOB_LOG_RETENTION_DAYS is 0", True
    with database.connect() as connection:
        found = db.schema(connection)
    if found.state is not SchemaState.READY:
        return str(found), False
    pruned = sum(retention.prune(database, settings.job_log_retention))
    return f"took away logs and series of {pruned} jobs", True


_COMMANDS: Mapping[str, Command] = {"migrate": _migrate, "status": _status, "prune": _prune}
