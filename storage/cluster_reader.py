"""What is read of a cluster's machines: up or down, how they are mirrored, what room they have."""

from datetime import datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

import db
from storage import machine_states
from storage import sync_status as mirror_links
from storage.read_models import (
    Disk,
    Machine,
    MachineStatus,
    Memory,
    QuarantineSummary,
    StateChange,
    SyncStatus,
)
from storage.sync_status import ClusterLinks

# So many documents that are set aside are counted: beyond that how many doesn't matter any more.
_MOST_COUNTED = 1000


class ClusterReader:
    """Reads a cluster's machines and how fresh their mirror is."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def cluster_status(self) -> list[MachineStatus]:
        """The machines that the cluster's status last spoke of, a row each, by label."""
        with self._database.connect() as connection:
            links = _links(connection)
            rows = connection.execute(machine_states.select_latest_states()).all()
        if links is None:
            return []
        asked = set(links.status_machines)
        found = (
            MachineStatus(row.label, row.is_up, row.reason, row.since, links.status.last_success_at)
            for row in rows
            if row.machine_id in asked
        )
        return sorted(found, key=attrgetter("machine"))

    def state_changes(self, since: datetime) -> list[StateChange]:
        """When machines went up or down from `since` on, and the last change before, oldest first."""
        table = db.machine_states
        with self._database.connect() as connection:
            before = connection.execute(machine_states.select_latest_states(since)).all()
            # The index is by machine first, so that all of them are named.
            machines = connection.scalars(sa.select(db.machines.c.id)).all()
            after = connection.execute(
                sa.select(table, db.machines.c.label)
                .join(db.machines)
                .where(table.c.machine_id.in_(machines), table.c.since > since)
            ).all()
        rows = sorted([*before, *after], key=attrgetter("since"))
        return [StateChange(row.label, row.since, row.is_up, row.reason) for row in rows]

    def machines(self) -> list[Machine]:
        """The machines that are mirrored, with their resources, by label."""
        with self._database.connect() as connection:
            links = _links(connection)
            rows = connection.execute(sa.select(db.machines)).all()
            memory = {row.machine_id: row for row in connection.execute(sa.select(db.machine_memory))}
            by_identity = sa.select(db.machine_disks).order_by(db.machine_disks.c.identity)
            disks = connection.execute(by_identity).all()
            set_aside = {row.machine_id: row for row in connection.execute(_newest_set_aside())}
        mirrored = {} if links is None else links.machines
        found = (
            Machine(
                label=row.label,
                link=mirrored[row.id],
                revision=row.revision,
                clock_at=row.clock_at,
                memory=_memory(memory.get(row.id)),
                disks=tuple(_disk(disk) for disk in disks if disk.machine_id == row.id),
                quarantine=_set_aside(set_aside.get(row.id)),
            )
            for row in rows
            if row.id in mirrored
        )
        return sorted(found, key=attrgetter("label"))

    def sync_status(self) -> SyncStatus | None:
        """How fresh the mirror is; `None` where no grabber has ever worked."""
        with self._database.connect() as connection:
            row = connection.execute(sa.select(db.heartbeat)).one_or_none()
            labels = {
                machine.id: machine.label
                for machine in connection.execute(sa.select(db.machines.c.id, db.machines.c.label))
            }
        if row is None:
            return None
        links = mirror_links.from_json(row.links)
        machines = sorted((labels[machine], link) for machine, link in links.machines.items())
        return SyncStatus(
            row.beat_at, links.gateway, links.status, tuple(machines), links.certificate_expires_at
        )


def _links(connection: sa.Connection) -> ClusterLinks | None:
    kept = connection.scalar(sa.select(db.heartbeat.c.links))
    return None if kept is None else mirror_links.from_json(kept)


def _memory(row: Any) -> Memory | None:
    if row is None:
        return None
    return Memory(row.total_bytes, row.used_bytes, row.free_bytes, row.available_bytes, row.updated_at)


def _disk(row: Any) -> Disk:
    return Disk(row.total_bytes, row.used_bytes, row.free_bytes, row.files, row.updated_at)


def _newest_set_aside() -> sa.Select[Any]:
    """Of each machine that has any, the newest document that is set aside, and how many there are.

    One of an earlier epoch is gone from its machine: what is there was mirrored anew since.
    """
    machines, table = db.machines, db.quarantined_documents
    of_machine = (
        sa.select(table)
        .where(table.c.machine_id == machines.c.id, table.c.epoch == machines.c.epoch)
        .order_by(table.c.updated_at.desc())
        .limit(_MOST_COUNTED + 1)
        .lateral()
    )
    number = sa.func.count().over(partition_by=of_machine.c.machine_id)
    return (
        sa.select(of_machine, number.label("number"))
        .select_from(machines.join(of_machine, sa.true()))
        .ext(distinct_on(of_machine.c.machine_id))
        .order_by(of_machine.c.machine_id, of_machine.c.updated_at.desc())
    )


def _set_aside(row: Any) -> QuarantineSummary | None:
    if row is None:
        return None
    return QuarantineSummary(
        count=min(row.number, _MOST_COUNTED),
        has_more=row.number > _MOST_COUNTED,
        latest_at=row.updated_at,
        latest_type=row.document_type,
        reason=row.reason,
    )
