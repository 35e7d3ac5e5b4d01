"""How long it takes to take over an earlier mirror's database.

There are five polls of machines for each job. The goal is 1,000,000 jobs within 20 minutes on two cores.
"""

import os
import time
from collections.abc import Sequence

import sqlalchemy as sa

import db
from benchmarks import cli, earlier_mirror
from benchmarks.environment import settings_of, stage
from benchmarks.results import tell
from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Cluster
from legacy_import import workers
from legacy_import.lifecycle import begin

_JOBS = 50_000
_POLLS_A_JOB = 5
_GOAL = 1_000_000 / (20 * 60)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fills, measures and tells."""
    parser = cli.parser("legacy_import", __doc__)
    parser.add_argument("--jobs", type=cli.count, default=_JOBS, help="how many there are")
    parser.add_argument(
        "--processes", type=cli.count, default=os.cpu_count() or 1, help="how many share the work"
    )
    chosen = parser.parse_args(arguments)
    jobs, processes = chosen.jobs, chosen.processes
    with stage() as made:
        environment = made.environment()
        settings = settings_of(environment)
        os.environ.update(environment)
        name = settings.database(Cluster.PRODUCTION)
        made.postgres.drop_database(name)
        made.postgres.create_database(name)
        engine = db.engine(settings, Cluster.PRODUCTION, "benchmark")
        earlier_mirror.fill(engine, jobs, _POLLS_A_JOB * jobs)
        before = _bytes(engine)
        began_s = time.monotonic()
        begin(engine, Pseudonymizer(settings.pseudonym_secret))
        begun_s = time.monotonic() - began_s
        workers.take_newest(settings, engine)
        newest_s = time.monotonic() - began_s
        workers.take_over(settings, Cluster.PRODUCTION, engine, processes)
        seconds = time.monotonic() - began_s
        row = {
            "jobs": jobs,
            "processes": processes,
            "set apart (s)": begun_s,
            "newest runs (s)": newest_s,
            "all (s)": seconds,
            "jobs/s": jobs / seconds,
            "GB to take over": before / 1e9,
            "GB of it taken over": (_bytes(engine) - before) / 1e9,
        }
        engine.dispose()
    tell("adoption", [row], notes=[f"goal: 1,000,000 jobs within 20 minutes, which is {_GOAL:.0f} a second"])


def _bytes(engine: sa.Engine) -> int:
    of_database = sa.func.pg_database_size(sa.func.current_database(), type_=sa.BigInteger)
    with engine.connect() as connection:
        return connection.execute(sa.select(of_database)).scalar_one()


if __name__ == "__main__":
    main()
