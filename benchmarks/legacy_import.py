"""Duration of a legacy import, with five polls of machine states per job.

The goal is 1,000,000 jobs within 20 minutes on two cores.
"""

import os
import time
from collections.abc import Sequence

import sqlalchemy as sa

import db
from benchmarks import cli, legacy_database
from benchmarks.environment import benchmark_environment
from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Cluster
from legacy_import import lifecycle, workers

_JOBS = 50_000
_POLLS_PER_JOB = 5
_GOAL_PER_S = 1_000_000 / (20 * 60)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill a legacy database, import it and report the durations."""
    parser = cli.parser("legacy_import", __doc__)
    parser.add_argument("--jobs", type=cli.positive_int, default=_JOBS, help="number of jobs")
    parser.add_argument(
        "--processes", type=cli.positive_int, default=os.cpu_count() or 1, help="number of worker processes"
    )
    options = parser.parse_args(arguments)
    jobs, processes = options.jobs, options.processes
    with benchmark_environment() as environment:
        variables = environment.variables()
        settings = environment.settings()
        os.environ.update(variables)
        name = settings.database(Cluster.PRODUCTION)
        environment.postgres.drop_database(name)
        environment.postgres.create_database(name)
        engine = db.engine(settings, Cluster.PRODUCTION, "benchmark")
        legacy_database.fill(engine, jobs, _POLLS_PER_JOB * jobs)
        before = _bytes(engine)
        started_s = time.monotonic()
        lifecycle.start(engine, Pseudonymizer(settings.pseudonym_secret))
        renamed_s = time.monotonic() - started_s
        workers.import_newest(settings, engine)
        newest_s = time.monotonic() - started_s
        workers.import_all(settings, Cluster.PRODUCTION, engine, processes)
        total_s = time.monotonic() - started_s
        row = {
            "jobs": jobs,
            "processes": processes,
            "tables renamed (s)": renamed_s,
            "newest runs imported (s)": newest_s,
            "total (s)": total_s,
            "jobs/s": jobs / total_s,
            "legacy tables (GB)": before / 1e9,
            "imported (GB)": (_bytes(engine) - before) / 1e9,
        }
        engine.dispose()
    cli.report(
        "legacy_import",
        [row],
        notes=[f"goal: 1,000,000 jobs within 20 minutes, or {_GOAL_PER_S:.0f} per second"],
    )


def _bytes(engine: sa.Engine) -> int:
    size = sa.func.pg_database_size(sa.func.current_database(), type_=sa.BigInteger)
    with engine.connect() as connection:
        return connection.execute(sa.select(size)).scalar_one()


if __name__ == "__main__":
    main()
