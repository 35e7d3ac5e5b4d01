"""`python db.py adopt`: import the databases of an earlier mirror, drop its tables, or undo the import."""

import argparse
import logging
import sys
from functools import partial

import psycopg2.errors
import sqlalchemy as sa

from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Cluster, Settings
from legacy_import import lifecycle, workers
from legacy_import.importer import Importer
from legacy_import.preflight import PreflightFailed, dry_run
from storage import import_progress
from storage.db_command_runner import exit_status, run_on, run_on_both
from storage.import_progress import ImportProgress
from storage.schema import Schema, SchemaState, SecretChanged, read_schema, verify_secret

log = logging.getLogger("legacy_import")

HELP = "Import the data of an earlier mirror in both databases."
DESCRIPTION = f"""{HELP} Its tables are renamed to legacy_…, which takes a moment, the tables of this mirror
are created, and the data is imported, newest runs first. If it is interrupted, run it again to continue."""
_MAX_PROCESSES = 16
# Each process takes about 100 MB, and a container's CPU limit doesn't show in the number of processors.
_DEFAULT_PROCESSES = 2
_START_ATTEMPTS = 3
_NOTHING = "there are no tables of an earlier mirror"
_REFUSED = "import refused, nothing was changed"
_IN_USE = "the tables are in use: stop the programs of the earlier mirror"
_WRONG_SECRET = "PSEUDONYM_SECRET differs from the one at the start of the import: restore that one"  # noqa: S105


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--dry-run", action="store_true", help="report what would be done, change nothing")
    actions.add_argument("--drop", action="store_true", help="drop the legacy tables after the import")
    actions.add_argument(
        "--undo", action="store_true", help="restore the legacy tables and drop those of this mirror"
    )
    parser.add_argument("--verbose", action="store_true", help="name the runs of rows that are not imported")
    parser.add_argument("--yes", action="store_true", help="don't ask for confirmation of --drop and --undo")
    parser.add_argument(
        "--processes",
        type=int,
        choices=range(1, _MAX_PROCESSES + 1),
        metavar="N",
        default=_DEFAULT_PROCESSES,
        help=f"number of worker processes, 1 to {_MAX_PROCESSES}; default {_DEFAULT_PROCESSES}",
    )


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run the command on both databases; the exit status is 1 if it fails on either."""
    workers.configure_logging(settings)
    for warning in settings.load_warnings:
        log.warning("%s", warning)
    if options.dry_run:
        return run_on_both(settings, _dry_run)
    if options.drop:
        return run_on_both(settings, partial(_drop, is_confirmed=options.yes))
    if options.undo:
        return run_on_both(settings, partial(_undo, is_confirmed=options.yes))
    # Both imports start first, so that the newest runs of both are available within seconds.
    started = run_on(Cluster, settings, _start)
    command = partial(_import, processes=options.processes, verbose=options.verbose)
    return exit_status(run_on(started, settings, command))


def _dry_run(settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    schema, progress = _state(database)
    if schema.state is not SchemaState.LEGACY:
        return _outcome(schema, progress)
    try:
        lines = list(dry_run(database, Importer(database, settings)))
    except PreflightFailed as error:
        return f"{_REFUSED}: {error}", False
    return "\n  ".join(["tables of an earlier mirror, ready for the import", *lines]), True


def _start(settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    pseudonymizer = Pseudonymizer(settings.pseudonym_secret)
    try:
        if not _is_started(database, pseudonymizer):
            return _IN_USE, False
    except PreflightFailed as error:
        return f"{_REFUSED}: {error}", False
    _, progress = _state(database)
    if not _is_incomplete(progress):
        return "", True
    try:
        with database.begin() as connection:
            verify_secret(connection, pseudonymizer.check_value())
    except SecretChanged:
        return _WRONG_SECRET, False
    workers.import_newest(settings, database)
    return "import started: grabbers and servers can run now", True


def _is_started(database: sa.Engine, pseudonymizer: Pseudonymizer) -> bool:
    """Start the import; returns False if the legacy tables stay locked."""
    for _ in range(_START_ATTEMPTS):
        try:
            lifecycle.start(database, pseudonymizer)
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, psycopg2.errors.LockNotAvailable):
                raise
        else:
            return True
    return False


def _import(
    settings: Settings, cluster: Cluster, database: sa.Engine, *, processes: int, verbose: bool
) -> tuple[str, bool]:
    schema, progress = _state(database)
    if _is_incomplete(progress):
        workers.import_all(settings, cluster, database, processes)
        schema, progress = _state(database)
    message, is_successful = _outcome(schema, progress)
    if progress is not None:
        message = "\n  ".join([message, *_skipped_lines(database, verbose=verbose)])
    return message, is_successful and not _is_incomplete(progress)


def _drop(
    settings: Settings, cluster: Cluster, database: sa.Engine, *, is_confirmed: bool
) -> tuple[str, bool]:
    schema, progress = _state(database)
    if progress is None:
        return _outcome(schema, progress)
    if not progress.is_complete:
        return f"not dropped: {progress}", False
    loss = "this drops the legacy tables, with their raw logs, host names and ids"
    skipped = _skipped_lines(database, verbose=False)
    if not (is_confirmed or _confirm(settings.database(cluster), "\n  ".join([loss, *skipped]))):
        return "not dropped", False
    lifecycle.drop(database)
    return "dropped the legacy tables", True


def _undo(
    settings: Settings, cluster: Cluster, database: sa.Engine, *, is_confirmed: bool
) -> tuple[str, bool]:
    schema, progress = _state(database)
    if progress is None:
        return _outcome(schema, progress)
    loss = "this drops all data that this mirror has stored since the import, including the audit log"
    if not (is_confirmed or _confirm(settings.database(cluster), loss)):
        return "not undone", False
    lifecycle.undo(database)
    return "restored the legacy tables", True


def _state(database: sa.Engine) -> tuple[Schema, ImportProgress | None]:
    with database.connect() as connection:
        schema = read_schema(connection)
        return schema, import_progress.read(connection) if schema.state is SchemaState.READY else None


def _skipped_lines(database: sa.Engine, *, verbose: bool) -> list[str]:
    with database.connect() as connection:
        return import_progress.read_skipped(connection).lines(verbose=verbose)


def _is_incomplete(progress: ImportProgress | None) -> bool:
    return progress is not None and not progress.is_complete


def _outcome(schema: Schema, progress: ImportProgress | None) -> tuple[str, bool]:
    """Message if there is nothing to do, or no more."""
    match schema.state:
        case SchemaState.TOO_NEW | SchemaState.LEGACY | SchemaState.FOREIGN | SchemaState.ENCODING:
            return str(schema), False
        case SchemaState.TOO_OLD | SchemaState.READY:
            return _NOTHING if progress is None else str(progress), True


def _confirm(database: str, loss: str) -> bool:
    """Ask the operator to confirm by typing the name of the database."""
    sys.stdout.write(f"{database}: {loss}\nType the name of the database to continue: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip() == database
