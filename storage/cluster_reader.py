"""Queries about a cluster's machines: availability, sync status, memory and disks."""

from collections.abc import Collection
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

import db
from storage import sync_status
from storage.database_reader import DatabaseReader
from storage.machines import select_latest_states, select_states_at
from storage.prepared_statements import prepared
from storage.read_models import (
    Disk,
    DroppedField,
    Machine,
    MachineStatus,
    Memory,
    QuarantineSummary,
    StateChange,
    SyncStatus,
)
from storage.sync_status import ClusterLinks

# Quarantined documents are counted up to this number.
MAX_COUNTED = 1000

_LINKS = prepared(sa.select(db.heartbeat.c.links))
_LABELS = sa.select(sa.func.json_object_agg(db.machines.c.id, db.machines.c.label)).scalar_subquery()
_HEARTBEAT = prepared(sa.select(db.heartbeat, _LABELS.label("labels")))
_MACHINES = prepared(sa.select(db.machines))
_MEMORY = prepared(sa.select(db.machine_memory))
_DISKS = prepared(sa.select(db.machine_disks).order_by(db.machine_disks.c.identity))
_DROPPED_FIELDS = prepared(
    sa.select(db.dropped_fields).order_by(db.dropped_fields.c.documents.desc(), db.dropped_fields.c.field)
)


class ClusterReader(DatabaseReader):
    """Reads a cluster's machines and sync status."""

    def machine_statuses(self) -> list[MachineStatus]:
        """The machines in the latest cluster status, by label.

        As long as DQM² has not reported any, all machines in their last known state, i.e. that of an import.
        """
        with self._database.connect() as connection:
            links = _links(connection)
            rows = connection.execute(select_latest_states()).all()
        checked_at = None if links is None else links.status.last_success_at
        if links is None or checked_at is None:
            found = [_imported_status(row) for row in rows]
        else:
            reported = set(links.status_machines)
            found = [
                MachineStatus(row.label, row.is_up, row.reason, row.since, checked_at, is_current=True)
                for row in rows
                if row.machine_id in reported
            ]
        return sorted(found, key=attrgetter("machine"))

    def state_changes(self, since: datetime, until: datetime | None = None) -> list[StateChange]:
        """Changes of machines' states from `since` on, and each machine's last before it; oldest first.

        Of the machines that are mirrored or in the latest cluster status; of all before there is one.
        `until`: only the changes before it.
        """
        with self._database.connect() as connection:
            return _state_changes(connection, _present_machines(connection), since, until)

    def state_changes_between(self, since: datetime, until: datetime) -> list[StateChange]:
        """Changes of machines' states in a period, and each machine's last before it; oldest first.

        Machines that are gone are included only if their state changed in the period or later, as it is not
        known when they were removed.
        """
        with self._database.connect() as connection:
            machines = _present_machines(connection)
            if machines is not None:
                latest = connection.execute(select_latest_states())
                machines |= {row.machine_id for row in latest if row.since >= since}
            return _state_changes(connection, machines, since, until)

    def machines(self) -> list[Machine]:
        """The mirrored machines with their resources, by label."""
        with self._database.connect() as connection:
            links = _links(connection)
            rows = connection.execute(_MACHINES).all()
            memory = {row.machine_id: row for row in connection.execute(_MEMORY)}
            disks = connection.execute(_DISKS).all()
            quarantine = {row.machine_id: row for row in connection.execute(_select_quarantine())}
        mirrored = {} if links is None else links.machines
        found = (
            Machine(
                label=row.label,
                link=mirrored[row.id],
                revision=row.revision,
                clock_at=row.clock_at,
                memory=_memory(memory.get(row.id)),
                disks=tuple(_disk(disk) for disk in disks if disk.machine_id == row.id),
                quarantine=_quarantine(quarantine.get(row.id)),
            )
            for row in rows
            if row.id in mirrored
        )
        return sorted(found, key=attrgetter("label"))

    def dropped_fields(self) -> list[DroppedField]:
        """Fields of which the allowlist left out values, the most frequent first."""
        with self._database.connect() as connection:
            rows = connection.execute(_DROPPED_FIELDS).all()
        return [DroppedField(row.field, row.documents, row.newest_at) for row in rows]

    def sync_status(self) -> SyncStatus | None:
        """The sync status; `None` if no grabber has ever run."""
        with self._database.connect() as connection:
            row = connection.execute(_HEARTBEAT).one_or_none()
        if row is None:
            return None
        links = sync_status.from_json(row.links)
        machines = sorted((row.labels[str(machine)], link) for machine, link in links.machines.items())
        return SyncStatus(
            row.heartbeat_at, links.gateway, links.status, tuple(machines), links.certificate_expires_at
        )


def _present_machines(connection: sa.Connection) -> set[int] | None:
    """The machines that are mirrored or in the latest cluster status; `None` before the first status."""
    links = _links(connection)
    if links is None or links.status.last_success_at is None:
        return None
    return {*links.machines, *links.status_machines}


def _state_changes(
    connection: sa.Connection,
    machines: Collection[int] | None,
    since: datetime,
    until: datetime | None = None,
) -> list[StateChange]:
    """Changes of the states of machines, of all if `None`, and the last of each before `since`."""
    if machines is None:
        machines = connection.scalars(sa.select(db.machines.c.id)).all()
    table = db.machine_states.c
    states_before = connection.execute(select_states_at(), {"at": since})
    before = [
        StateChange(row.label, row.since, row.is_up, row.reason)
        for row in states_before
        if row.machine_id in machines
    ]
    # The index begins with the machine.
    is_in_period = [table.machine_id.in_(machines), table.since > since]
    if until is not None:
        is_in_period.append(table.since < until)
    columns = (db.machines.c.label, table.since, table.is_up, table.reason)
    changed = sa.select(*columns).join_from(db.machine_states, db.machines).where(*is_in_period)
    # By position: a day may have hundreds.
    within = [StateChange(*row) for row in connection.execute(changed)]
    return sorted([*before, *within], key=attrgetter("at"))


def _links(connection: sa.Connection) -> ClusterLinks | None:
    stored = connection.scalar(_LINKS)
    return None if stored is None else sync_status.from_json(stored)


def _imported_status(row: Any) -> MachineStatus:
    checked_at = row.since if row.state_checked_at is None else max(row.since, row.state_checked_at)
    return MachineStatus(row.label, row.is_up, row.reason, row.since, checked_at, is_current=False)


def _memory(row: Any) -> Memory | None:
    if row is None:
        return None
    return Memory(row.total_bytes, row.used_bytes, row.free_bytes, row.available_bytes, row.updated_at)


def _disk(row: Any) -> Disk:
    return Disk(row.total_bytes, row.used_bytes, row.free_bytes, row.files, row.updated_at)


@cache
def _select_quarantine() -> sa.Select[Any]:
    """Select each machine's latest quarantined document and the number of its quarantined documents.

    Documents of an earlier epoch no longer exist on the machine, which has been mirrored again since.
    """
    machines, table = db.machines, db.quarantined_documents
    of_machine = (
        sa.select(table)
        .where(table.c.machine_id == machines.c.id, table.c.epoch == machines.c.epoch)
        .order_by(table.c.updated_at.desc())
        .limit(MAX_COUNTED + 1)
        .lateral()
    )
    count = sa.func.count().over(partition_by=of_machine.c.machine_id)
    return prepared(
        sa.select(of_machine, count.label("documents"))
        .select_from(machines.join(of_machine, sa.true()))
        .ext(distinct_on(of_machine.c.machine_id))
        .order_by(of_machine.c.machine_id, of_machine.c.updated_at.desc())
    )


def _quarantine(row: Any) -> QuarantineSummary | None:
    if row is None:
        return None
    return QuarantineSummary(
        count=min(row.documents, MAX_COUNTED),
        has_more=row.documents > MAX_COUNTED,
        latest_at=row.updated_at,
        latest_type=row.document_type,
        reason=row.reason,
    )
