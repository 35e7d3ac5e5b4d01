"""Crashes by run, runs of clients, and releases, which triggers keep up to date, whatever is written."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations_with_replacement
from uuid import UUID

import pytest
import sqlalchemy as sa

import db
from benchmarks.crash_corpus import CRASH_LOGS
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster, Settings
from storage.job_state import StateRules
from storage.log_backfill import analyze_outdated
from storage.log_dictionaries import DictionaryStore
from storage.read_models import FoundSpan
from storage.reader import MirrorReader
from storage.rows import to_row
from storage.run_queries import RunFilter
from storage.schema import migrate
from storage.upserts import write_documents
from tests.databases import kept_engine
from tests.examples import core_of
from tests.grabber_runner import execute, rows
from tests.mirrored_cluster import MirroredCluster, crashed_job, job
from tests.waiting import until

# The last run of a block.
RUN = 350 * db.RUNS_PER_BLOCK - 1
RUNS = range(RUN, RUN + 4)
NOW = datetime(2022, 9, 15, 12, tzinfo=UTC)


class JobHistory:
    """A database in which jobs are written, written again, regrouped and deleted at random."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self._settings = settings
        self._set_version = partial(monkeypatch.setattr, "dqm2.crash_signatures.SIGNATURE_VERSION")
        self._rng = random.Random(seed)
        self._machine = 1
        self._written: list[JobRecord] = []
        MirroredCluster(settings)
        self._write()

    def step(self) -> None:
        """Do one thing."""
        actions: list[Callable[[], None]] = [self._write] * 6 + [
            self._write_again,
            self._regroup,
            self._delete,
            self._delete_run,
        ]
        self._rng.choice(actions)()

    def _write(self) -> None:
        """Write new jobs, and newer or older versions of those known, which may be other jobs' by now."""
        self._store([self._job() for _ in range(self._rng.randrange(1, 5))])

    def _write_again(self) -> None:
        self._store(self._rng.sample(self._written, min(3, len(self._written))))

    def _regroup(self) -> None:
        """Analyze some jobs by other rules."""
        self._set_version(self._rng.randrange(1000, 1003))
        run = self._rng.choice(RUNS)
        execute(self._settings, sa.update(db.jobs).where(db.jobs.c.run == run).values(log_rules=1))
        list(analyze_outdated(kept_engine(self._settings, Cluster.PRODUCTION)))

    def _delete(self) -> None:
        identities = {record.document.identity for record in self._rng.sample(self._written, 1)}
        execute(self._settings, sa.delete(db.jobs).where(db.jobs.c.identity.in_(identities)))

    def _delete_run(self) -> None:
        run = self._rng.choice(RUNS)
        execute(self._settings, *(sa.delete(table).where(table.c.run == run) for table in (db.jobs, db.runs)))

    def _job(self) -> JobRecord:
        crash = self._rng.choice(CRASH_LOGS[:2])
        record = crashed_job(self._rng.choice(RUNS), crash, client=self._rng.choice(("csc", "beam")))
        exit_code = self._rng.choice((record.exit_code, record.exit_code, None, 0))
        known = [written.document.identity for written in self._written]
        version = replace(
            record.document,
            identity=self._rng.choice([*known, *[UUID(int=self._rng.getrandbits(128))] * (3 + len(known))]),
            revision=self._rng.randrange(1000),
            updated_at=NOW + timedelta(minutes=self._rng.randrange(1000)),
        )
        return replace(
            record,
            document=version,
            exit_code=exit_code,
            crash=record.crash if exit_code else None,
            run_key=self._rng.choice((None, "pp_run", "hi_run")),
            cmssw_version=self._rng.choice((None, *(f"15_0_{patch}" for patch in range(6)))),
        )

    def _store(self, records: list[JobRecord]) -> None:
        self._written += records
        with kept_engine(self._settings, Cluster.PRODUCTION).begin() as connection:
            write_documents(connection, 0, {self._machine: [to_row(record) for record in records]})


def counted(settings: Settings) -> set[tuple[object, ...]]:
    """The stored row of each group in each run."""
    return {tuple(row.values()) for row in rows(settings, db.crash_group_runs)}


def of_jobs(settings: Settings) -> set[tuple[object, ...]]:
    """The same, counted from the jobs and their runs."""
    jobs, runs = db.jobs.c, db.runs.c
    statement = (
        sa.select(jobs.run, jobs.crash_group, sa.func.count(), runs.run_key, runs.cmssw_version)
        .join_from(db.jobs, db.runs, runs.run == jobs.run, isouter=True)
        .where(jobs.crash_group.is_not(None))
        .group_by(jobs.run, jobs.crash_group, runs.run_key, runs.cmssw_version)
    )
    with kept_engine(settings, Cluster.PRODUCTION).connect() as connection:
        return {tuple(row) for row in connection.execute(statement)}


def marked(settings: Settings) -> set[tuple[str, int]]:
    """Each client with each run that is marked."""
    return {
        (row["client"], row["block"] * db.RUNS_PER_BLOCK + bit)
        for row in rows(settings, db.client_runs)
        for bit, is_set in enumerate(row["runs"])
        if is_set == "1"
    }


def ran(settings: Settings) -> set[tuple[str, int]]:
    """Each client with each run that it has a job in."""
    return {(row["client"], row["run"]) for row in rows(settings, db.jobs)}


def listed(settings: Settings) -> list[str]:
    """The releases that are listed."""
    return [row["cmssw_version"] for row in rows(settings, db.releases)]


def described(settings: Settings) -> list[str]:
    """The releases that runs have."""
    return sorted({row["cmssw_version"] for row in rows(settings, db.runs)} - {None})


@pytest.mark.parametrize("seed", core_of(range(3), 0))
def test_they_are_those_of_the_jobs_whatever_is_written_and_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    history = JobHistory(settings, monkeypatch, seed)
    sizes, lost, lost_releases = [], 0, 0
    for _ in range(30):
        before, releases = marked(settings), listed(settings)
        history.step()
        assert counted(settings) == of_jobs(settings)
        assert marked(settings) == ran(settings)
        assert listed(settings) == described(settings)
        sizes.append(len(counted(settings)))
        lost += len(before - marked(settings))
        lost_releases += len(set(releases) - set(listed(settings)))
    assert max(sizes) > 3
    assert lost > 3
    assert lost_releases > 0


def is_lock_waited_for(settings: Settings, lock: str) -> bool:
    """Whether a transaction waits for a lock of a type of another's: its end, or an advisory lock."""
    waiting = sa.text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = :lock)")
    with kept_engine(settings, Cluster.PRODUCTION).connect() as connection:
        return bool(connection.scalar(waiting.bindparams(lock=lock)))


def crash_of(run: int) -> JobRecord:
    """A crash with an id of its own."""
    record = crashed_job(run)
    return replace(record, document=replace(record.document, identity=UUID(int=run)))


@pytest.mark.parametrize("is_described_first", [True, False])
def test_they_have_the_metadata_of_a_run_that_changes_meanwhile(
    settings: Settings, *, is_described_first: bool
) -> None:
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], crash_of(RUN))
    crash = sa.update(db.jobs).values(crash_group="another")
    described = sa.update(db.runs).values(run_key="hi_run")
    first, second = (described, crash) if is_described_first else (crash, described)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with ThreadPoolExecutor(1) as pool, database.connect() as connection:
        connection.execute(first)
        other = pool.submit(execute, settings, second)
        until(lambda: other.done() or is_lock_waited_for(settings, "transactionid"))
        connection.commit()
        other.result()
    database.dispose()
    assert counted(settings) == of_jobs(settings)
    assert [(row["crash_group"], row["run_key"]) for row in rows(settings, db.crash_group_runs)] == [
        ("another", "hi_run")
    ]


def test_they_are_of_both_transactions_that_write_at_the_same_time(settings: Settings) -> None:
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], *(replace(crash_of(RUN + 1), run=RUN), crash_of(RUN)))
    moved = [
        sa.update(db.jobs).where(db.jobs.c.identity == UUID(int=id_)).values(crash_group="another")
        for id_ in (RUN, RUN + 1)
    ]
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with ThreadPoolExecutor(1) as pool, database.connect() as connection:
        connection.execute(moved[0])
        other = pool.submit(execute, settings, moved[1])
        until(lambda: other.done() or is_lock_waited_for(settings, "transactionid"))
        connection.commit()
        other.result()
    database.dispose()
    assert counted(settings) == of_jobs(settings)
    assert [row["jobs"] for row in rows(settings, db.crash_group_runs)] == [2]


def commit_together(settings: Settings, first: sa.Executable, second: sa.Executable) -> None:
    """Execute two statements, the second in a transaction that ends while the triggers of the first ran."""
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with ThreadPoolExecutor(1) as pool, database.connect() as connection:
        connection.execute(first)
        connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
        other = pool.submit(execute, settings, second)
        until(lambda: other.done() or is_lock_waited_for(settings, "advisory"))
        connection.commit()
        other.result()
    database.dispose()


@pytest.mark.parametrize("is_written_first", [True, False])
def test_they_have_the_run_of_a_job_that_replaces_another_meanwhile(
    settings: Settings, *, is_written_first: bool
) -> None:
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], job(RUN, "csc"))
    deletion = sa.delete(db.jobs).where(db.jobs.c.identity != UUID(int=1))
    of_another = {column.name: column for column in db.jobs.c} | {"identity": sa.literal(UUID(int=1))}
    copy = sa.insert(db.jobs).from_select(list(of_another), sa.select(*of_another.values()))
    commit_together(settings, *((copy, deletion) if is_written_first else (deletion, copy)))
    assert [row["identity"] for row in rows(settings, db.jobs)] == [UUID(int=1)]
    assert marked(settings) == ran(settings)


@pytest.mark.parametrize("is_written_first", [True, False])
def test_they_have_the_release_of_a_run_that_replaces_another_meanwhile(
    settings: Settings, *, is_written_first: bool
) -> None:
    MirroredCluster(settings)
    run = {"run_key": None, "cmssw_version": "15_0_0"}
    execute(settings, sa.insert(db.runs).values(run=RUN, **run))
    deletion = sa.delete(db.runs).where(db.runs.c.run == RUN)
    other = sa.insert(db.runs).values(run=RUN + 1, **run)
    commit_together(settings, *((other, deletion) if is_written_first else (deletion, other)))
    assert [row["run"] for row in rows(settings, db.runs)] == [RUN + 1]
    assert listed(settings) == ["15_0_0"]


def test_many_jobs_of_a_transaction_write_the_row_of_their_runs_once(settings: Settings) -> None:
    MirroredCluster(settings)
    written = [to_row(job(run, "beam")) for run in range(RUN - 99, RUN + 1)]
    writes = sa.text(
        "SELECT n_tup_ins, n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = 'client_runs'"
    )
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        write_documents(connection, 0, {1: written})
        connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
        assert connection.execute(writes).one() == (1, 0)
    assert marked(settings) == ran(settings) != set()
    # The numbers of a connection are not always those of one transaction.
    database.dispose()
    with database.begin() as connection:
        connection.execute(sa.delete(db.jobs))
        connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
        assert connection.execute(writes).one() == (0, 1)
    database.dispose()
    assert marked(settings) == set()


@pytest.mark.parametrize("clients", core_of([None, ("csc",), ("beam", "csc"), ()], None, ("beam", "csc")))
def test_runs_of_clients_are_found_within_any_range(
    settings: Settings, clients: tuple[str, ...] | None
) -> None:
    cluster = MirroredCluster(settings)
    runs = {"csc": (0, RUN - 1, RUN, RUN + 1, RUN + 2000), "beam": (RUN, RUN + 3)}
    jobs = [job(run, client) for client, of_client in runs.items() for run in of_client]
    cluster.write(cluster.filter_units[0], *jobs)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    rules = StateRules.for_cluster(settings, Cluster.PRODUCTION)
    reader = MirrorReader(database, rules, DictionaryStore(database))
    # A job of run 0 does not know its run.
    wanted = {run for client in (runs if clients is None else clients) for run in runs[client] if run}
    for first, last in combinations_with_replacement((0, *RUNS, RUN + 2000, 2**31 - 1), 2):
        found = [run for run in wanted if first <= run <= last]
        span = FoundSpan(len(found), min(found, default=None), max(found, default=None))
        assert reader.runs.found_span(RunFilter(first, last, clients=clients)) == span
    database.dispose()


def test_migrations_count_the_jobs_of_a_program_without_counts(settings: Settings) -> None:
    cluster = MirroredCluster(settings)
    jobs = [crashed_job(run, run_key=f"{run}_run") for run in (RUN, RUN, RUN + 1)]
    cluster.write(cluster.filter_units[0], *jobs)
    before = counted(settings), marked(settings), listed(settings)
    of_program_before = (
        "DROP TABLE crash_group_runs, client_runs, releases",
        "DROP FUNCTION count_crash, describe_crashes CASCADE",
        "DROP FUNCTION mark_client_run, mark_client_block, list_release CASCADE",
        "UPDATE alembic_version SET version_num = '0011'",
    )
    execute(settings, *map(sa.text, of_program_before))
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    migrate(database)
    database.dispose()
    assert (counted(settings), marked(settings), listed(settings)) == before
    assert [len(each) for each in before] == [2, 2, 1]
    cluster.write(cluster.filter_units[0], crashed_job(RUN + 2, cmssw_version="15_0_0"))
    assert counted(settings) == of_jobs(settings)
    assert marked(settings) == ran(settings)
    assert listed(settings) == described(settings)
