"""`python db.py adopt`: takes over the databases of an earlier mirror, and what goes with that."""

import argparse
import logging
import sys
from functools import partial

import psycopg2.errors
import sqlalchemy as sa

import db
import dqmsquare_cfg
from db import SchemaState
from dqm2.pseudonyms import Pseudonymizer
from dqm2.redaction.redactor import get_redactor
from dqmsquare_cfg import Cluster, Settings, SettingsError
from legacy_import import ending, workers
from legacy_import.dry_run import rehearse
from legacy_import.importer import Adopter
from legacy_import.lifecycle import begin
from legacy_import.preflight import Unfit
from runtime import logging_setup
from storage import import_progress, installation
from storage.databases import done_to, reason, status, to_both
from storage.import_progress import ImportProgress
from storage.installation import SecretChanged

log = logging.getLogger("adoption")

HELP = "Takes over what an earlier mirror left in both databases."
DESCRIPTION = f"""{HELP} Its tables are renamed legacy_…, which takes a moment, the mirror's are made, and
what the earlier ones hold is copied, the newest runs first. However that ends, the same command goes on."""
_MOST_PROCESSES = 16
# In a pod there seem to be more processors than it may use, and each process takes some 100 MB.
_USUAL_PROCESSES = 2
_TRIES = 3
_NOTHING = "nothing of an earlier mirror is here"
_UNFIT = "can't be taken over, and nothing was changed"
_BEGUN_OTHERWISE = "PSEUDONYM_SECRET is not the one that this was begun under; put that one back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command can be told."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    what.add_argument("--drop", action="store_true", help="drop the earlier tables once all is taken over")
    what.add_argument(
        "--undo", action="store_true", help="put the earlier tables back; the mirror's are dropped"
    )
    what.add_argument("--share", choices=[cluster.value for cluster in Cluster], help=argparse.SUPPRESS)
    parser.add_argument("--yes", action="store_true", help="don't ask before --drop and --undo")
    parser.add_argument(
        "--processes",
        type=int,
        choices=range(1, _MOST_PROCESSES + 1),
        metavar="N",
        default=_USUAL_PROCESSES,
        help=f"how many processes share the work, {_MOST_PROCESSES} at most; {_USUAL_PROCESSES} by default",
    )


def run(chosen: argparse.Namespace, settings: Settings) -> int:
    """Does what is asked for to both databases; exit status 1 where it could not be done."""
    _log_to(settings)
    if chosen.share:
        return _share(settings, Cluster(chosen.share))
    for unknown in settings.load_warnings:
        log.warning("%s", unknown)
    if chosen.dry_run:
        return to_both(settings, _rehearse)
    if chosen.drop:
        return to_both(settings, partial(_drop, is_sure=chosen.yes))
    if chosen.undo:
        return to_both(settings, partial(_undo, is_sure=chosen.yes))
    # Both are begun first: the newest runs of both are there within seconds.
    begun = done_to(Cluster, settings, _begin)
    return status(done_to(begun, settings, partial(_take_over, processes=chosen.processes)))


def _log_to(settings: Settings) -> None:
    redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
    try:
        logging_setup.configure(settings, "adopt", debug=False, redact=redact)
    except SettingsError as error:
        dqmsquare_cfg.exit_with_errors(error.lines)
    logging_setup.install_excepthooks()


def _share(settings: Settings, cluster: Cluster) -> int:
    try:
        workers.share(settings, cluster)
    except sa.exc.OperationalError as error:
        log.error(
            "ended early database=%s reason=%s",
            settings.database(cluster),
            logging_setup.quote_value(reason(error)),
        )
        return 1
    return 0


def _rehearse(settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    schema, adoption = _found(database)
    if schema.state is SchemaState.LEGACY:
        try:
            lines = list(rehearse(database, Adopter(database, settings)))
        except Unfit as misfits:
            return f"{_UNFIT}: {misfits}", False
        return "an earlier mirror's, and would be taken over\n  " + "\n  ".join(lines), True
    return _otherwise(schema, adoption)


def _begin(settings: Settings, _cluster: Cluster, database: sa.Engine) -> tuple[str, bool]:
    for tries_left in reversed(range(_TRIES)):
        try:
            begin(database, Pseudonymizer(settings.pseudonym_secret))
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, psycopg2.errors.LockNotAvailable):
                raise
            if not tries_left:
                return "its tables are in use: end the programs of the earlier mirror", False
        except Unfit as misfits:
            return f"{_UNFIT}: {misfits}", False
        else:
            break
    _, adoption = _found(database)
    if not _is_left(adoption):
        return "", True
    if not _is_of_this_secret(settings, database):
        return _BEGUN_OTHERWISE, False
    workers.take_newest(settings, database)
    return "begun: grabbers and servers may work from now on", True


def _take_over(
    settings: Settings, cluster: Cluster, database: sa.Engine, *, processes: int
) -> tuple[str, bool]:
    schema, adoption = _found(database)
    if _is_left(adoption):
        workers.take_over(settings, cluster, database, processes)
        schema, adoption = _found(database)
    outcome, is_done = _otherwise(schema, adoption)
    return outcome, is_done and not _is_left(adoption)


def _drop(settings: Settings, cluster: Cluster, database: sa.Engine, *, is_sure: bool) -> tuple[str, bool]:
    schema, adoption = _found(database)
    if adoption is None:
        return _otherwise(schema, adoption)
    if not adoption.is_complete:
        return f"not dropped: {adoption}", False
    lost = "the earlier tables are dropped, and with them the raw logs, names and ids"
    reasons = [
        f"{number} documents that could not be taken over: {why}" for why, number in adoption.skipped.items()
    ]
    if not _is_sure(settings.database(cluster), "; ".join([lost, *reasons]), is_sure=is_sure):
        return "not dropped", False
    ending.drop(database)
    return "dropped the earlier mirror's tables", True


def _undo(settings: Settings, cluster: Cluster, database: sa.Engine, *, is_sure: bool) -> tuple[str, bool]:
    schema, adoption = _found(database)
    if adoption is None:
        return _otherwise(schema, adoption)
    lost = "all that this mirror has fetched and written since is dropped, the Control Room's audit too"
    if not _is_sure(settings.database(cluster), lost, is_sure=is_sure):
        return "not undone", False
    ending.undo(database)
    return "the earlier mirror's tables are what they were", True


def _found(database: sa.Engine) -> tuple[db.Schema, ImportProgress | None]:
    with database.connect() as connection:
        schema = db.schema(connection)
        return schema, import_progress.read(connection) if schema.state is SchemaState.READY else None


def _is_left(adoption: ImportProgress | None) -> bool:
    return adoption is not None and not adoption.is_complete


def _is_of_this_secret(settings: Settings, database: sa.Engine) -> bool:
    try:
        with database.begin() as connection:
            installation.verify_secret(connection, Pseudonymizer(settings.pseudonym_secret).check_value())
    except SecretChanged:
        return False
    return True


def _otherwise(schema: db.Schema, adoption: ImportProgress | None) -> tuple[str, bool]:
    """Where there is nothing to be done, or no longer."""
    match schema.state:
        case SchemaState.TOO_NEW | SchemaState.LEGACY | SchemaState.FOREIGN:
            return str(schema), False
        case SchemaState.TOO_OLD | SchemaState.READY:
            return _NOTHING if adoption is None else str(adoption), True


def _is_sure(database: str, lost: str, *, is_sure: bool) -> bool:
    """Whether the operator means it, which typing the database's name tells."""
    sys.stdout.write(f"{database}: {lost}\n")
    if is_sure:
        return True
    sys.stdout.write("Type the name of the database to go on: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip() == database
