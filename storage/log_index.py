"""Index of the lines of logs: the templates in the log of each job, and the words of each template.

Many jobs write the same lines, so this takes some 0.4 kB per job. The text search of PostgreSQL takes 6 kB
for the words of each log (`tsvector`), and trigrams need the text itself in addition to their index. The id
of a template is a hash, so that no id is looked up for writing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert

import db
from dqm2.log_templates import Templates

# Templates that are checked for use at a time. A lookup in the index reads all jobs of a template. Those of
# the newest jobs, which most jobs have, are known to be used: with 200,000 jobs a batch takes 0.2, not 1.8 s.
_TEMPLATES_PER_BATCH = 500
_NEWEST_JOBS = 2000
_MIN_ID = -(2**31)


def write(connection: sa.Connection, logs: Mapping[UUID, tuple[int, Templates]]) -> None:
    """Write the templates of logs that are stored: by job, its run and the templates of its log."""
    if not logs:
        return
    words = {id_: found for _, templates in logs.values() for id_, found in templates.items()}
    if words:
        # In one order everywhere, so that no two transactions wait for each other. With RETURNING, SQLAlchemy
        # sends many rows per statement, and compiles it once rather than for each number of rows.
        new = insert(db.log_templates).on_conflict_do_nothing().returning(db.log_templates.c.id)
        connection.execute(new, [{"id": id_, "words": list(words[id_])} for id_ in sorted(words)])
    # As one literal: PostgreSQL and its driver take half a microsecond for each element of an `ARRAY[…]`.
    literal = sa.cast(sa.bindparam("templates", type_=sa.Text), db.log_index.c.templates.type)
    statement = insert(db.log_index).values(templates=literal)
    changed = {"run": statement.excluded.run, "templates": statement.excluded.templates}
    upsert = statement.on_conflict_do_update(index_elements=[db.log_index.c.identity], set_=changed)
    connection.execute(
        upsert.returning(db.log_index.c.identity),
        [
            {"identity": job, "run": run, "templates": _array_literal(sorted(templates))}
            for job, (run, templates) in sorted(logs.items())
        ],
    )


def _array_literal(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def prune(database: sa.Engine) -> Iterator[int]:
    """Delete the templates that no log has any more; yields the number of those of each batch."""
    with database.connect() as connection:
        used = set(connection.scalars(_select_newest()))
    last = _MIN_ID
    while True:
        with database.begin() as connection:
            # Waits for transactions that have written templates, whose jobs could not be seen yet.
            connection.execute(sa.text("LOCK TABLE log_templates IN SHARE ROW EXCLUSIVE MODE"))
            ids = connection.scalars(_select_ids(last)).all()
            deleted = connection.execute(_delete_unused([id_ for id_ in ids if id_ not in used])).rowcount
        if not ids:
            return
        last = ids[-1]
        yield deleted


def _select_newest() -> sa.Select[Any]:
    """Select the templates of the newest jobs."""
    index = db.log_index.c
    newest = sa.select(index.templates).order_by(index.run.desc()).limit(_NEWEST_JOBS).subquery()
    return sa.select(sa.func.unnest(newest.c.templates)).distinct()


def _select_ids(after: int) -> sa.Select[Any]:
    id_ = db.log_templates.c.id
    return sa.select(id_).where(id_ > after).order_by(id_).limit(_TEMPLATES_PER_BATCH)


def _delete_unused(ids: Sequence[int]) -> sa.Delete:
    templates, index = db.log_templates.c, db.log_index.c
    is_used = sa.exists().where(index.templates.contains(postgresql.array([templates.id])))
    return sa.delete(db.log_templates).where(templates.id.in_(ids), ~is_used)
