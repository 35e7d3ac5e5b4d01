"""One machine brought up to date: the headers after its stored revision, then the documents that are new.

Documents come part by part, ascending by revision, and each part is written with the position that it brings
the machine to. A long catch-up is done in slices, so that the other machines have their turns. What can't be
understood is set aside with the reason, mirroring goes on behind it, and it is looked at again later.
"""

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from dqm2.client import Dqm2Client
from dqm2.errors import Dqm2Failed, Dqm2InvalidResponse
from dqm2.pseudonyms import Pseudonymizer
from dqm2.records import DocumentType
from dqm2.sync_messages import INVALID_TYPE, Header, Headers
from dqmsquare_cfg import Cluster
from grabbing import metrics, reach
from grabbing.asking import Asking
from grabbing.backoff import NEVER_S, Turn
from grabbing.document_fetcher import MOST_AT_ONCE, Fetching, Part, Sifting
from grabbing.document_pipeline import Announced, Rules, Sifter
from grabbing.gateway_queue import Line
from grabbing.parser_pool import Sifters
from runtime import logging_setup, malloc
from storage.log_compression import ZstdDictionary
from storage.rows import Batch, DocumentRow, QuarantinedDocument
from storage.writer import MirrorWriter, RegisteredMachine, RowRejected

log = logging.getLogger(__name__)

# How long one machine is caught up with before the others have their turns.
_SLICE_S = 5.0
# What is set aside is looked at again after so long at first, and seldom as long as it stays what it is.
_LOOK_AGAIN_S = 60.0
_LOOK_SELDOM_S = 3600.0
_MOST_LOOKED_AT = 1000
# From so many headers on, sifting in processes of its own is worth their start.
_MANY = 1000
_MOST_PROCESSES = 2
# Documents that are sifted here at once: parsed they take ten times their room, and what has once been taken
# stays with the process.
_FEW_AT_ONCE = 40
# A document's time this far ahead is a broken clock, by which nothing can be measured.
_FUTURE = timedelta(days=1)
# Older than any version that is stored.
_NEVER = (-1, -1)
_MIRRORED_TYPES = frozenset((*DocumentType, INVALID_TYPE))


@dataclass(frozen=True, slots=True)
class Means:
    """What all machines of a cluster are mirrored with."""

    cluster: Cluster
    client: Dqm2Client
    line: Line
    writer: MirrorWriter
    identities: Pseudonymizer
    redact: Callable[[str], str]
    rules: Rules
    sifter: Sifter
    dictionary: Callable[[], ZstdDictionary | None]


class MachineSync:
    """Keeps one machine mirrored; `host` is its name, for asking alone, everything else says its label.

    `behind`: how many documents it is behind, as far as it knows. `missing`: what can't be had of the
    machine, and why.
    """

    def __init__(self, means: Means, host: str, machine: RegisteredMachine, missing: str | None) -> None:
        self.machine = machine
        self.behind = 0
        self.missing = missing
        self._means = means
        self._position = machine.checkpoint
        self._asking = Asking(means.cluster, host, machine.label, client=means.client, line=means.line)
        self._fetching = Fetching(self._asking, means.identities, means.redact, means.dictionary)
        self._labels = {"cluster": means.cluster.value, "machine": machine.label}
        self._catch_up: Generator[None, None, None] | None = None
        self._began_s = 0.0
        self._total = self._written = 0
        self._highest = 0
        self._headers_failed = self._headers_unreadable = False
        self._second_look = Turn(NEVER_S, _LOOK_AGAIN_S, _LOOK_SELDOM_S)

    def mirror_some(self) -> bool:
        """Mirrors what is new on the machine, for some seconds; whether there is more to do at once.

        Raises Dqm2Error if the machine can't be asked, Stopped, ClaimLost, and SQLAlchemy's errors. Whatever
        it ends in, what was written before stays, and the next call goes on from there.
        """
        ends_s = time.monotonic() + _SLICE_S
        catch_up = self._catch_up or self._begin()
        self._catch_up = None
        for _ in catch_up:
            self._means.line.look_up()
            if time.monotonic() > ends_s:
                self._catch_up = catch_up
                break
        self._tell()
        return self._catch_up is not None

    def leave(self) -> None:
        """Lets go of a catch-up that is half done: its headers, and the processes that sift for it."""
        if self._catch_up is not None:
            self._catch_up.close()
            self._catch_up = None

    def _begin(self) -> "Generator[None, None, None]":
        self._began_s = time.monotonic()
        self._total = self._written = 0
        return self._catching_up()

    def _catching_up(self) -> "Generator[None, None, None]":
        """Mirrors what is new part by part, then what was set aside if that is due."""
        headers = self._new_headers()
        self._total = self.behind = len(headers)
        self._highest = headers[-1].revision if headers else self._position.revision or 0
        with (
            self._sifting(len(headers)) as sifting,
            closing(self._fetching.parts(headers, self._newer, sifting)) as parts,
        ):
            for part in parts:
                self._keep(part)
                yield
        if self._second_look.is_due():
            yield from self._look_again()

    @contextmanager
    def _sifting(self, headers: int) -> Iterator[Sifting]:
        """Sifts here, or, where there are many headers, in processes beside."""
        if headers < _MANY:
            yield Sifting(lambda order: partial(self._means.sifter.sift, order), _FEW_AT_ONCE, ahead=1)
            return
        count = min(_MOST_PROCESSES, os.cpu_count() or 1)
        with malloc.kept(), Sifters(self._means.sifter, self._means.rules, count) as sifters:
            wait_for = self._means.line.wait_for
            yield Sifting(lambda order: partial(wait_for, sifters.put(order)), MOST_AT_ONCE, ahead=count + 1)

    def _new_headers(self) -> Sequence[Header]:
        """The headers beyond the position; if the machine's revisions started over, all of them."""
        found = self._headers(self._position.revision)
        if self._started_over(found):
            self._begin_epoch()
            found = self._headers(None)
        known = self._position.revision
        return [header for header in found.headers if known is None or header.revision > known]

    def _headers(self, known_revision: int | None) -> Headers:
        """The headers from a revision on; if that is too long an answer, the newest that can be had.

        A machine that failed is asked first what takes no time: so a dead one costs no more than 5 s, and one
        that answers that is not dead, but its answer too long.
        """
        is_proven = self._headers_failed
        self._headers_failed = True
        if is_proven:
            reach.refuse_silent(self._asking.headers)
        try:
            found = self._asking.headers(known_revision)
        except reach.TOO_LONG:
            if not is_proven:
                raise
            found = self._newest_headers(known_revision)
        self._headers_failed = False
        self._bear_unreadable(found)
        return found

    def _bear_unreadable(self, found: Headers) -> None:
        """Leaves out headers missing or unreadable, once asked for again: it may have been the way."""
        is_known, self._headers_unreadable = self._headers_unreadable, found.missing_or_invalid > 0
        if not found.missing_or_invalid:
            return
        if not (is_known and found.headers):
            raise Dqm2InvalidResponse(
                f"headers of the answer are missing or can't be read, {found.missing_or_invalid} of them"
            )
        log.warning("left out headers host=%s entries=%d", self.machine.label, found.missing_or_invalid)
        metrics.values_left_out.labels(self._means.cluster.value, "header").inc(found.missing_or_invalid)

    def _newest_headers(self, known_revision: int | None) -> Headers:
        """The newest headers that can be had; what can't is told.

        It can't be seen from them whether the revisions have started over, so that they count as a new epoch:
        then they go over whatever is stored.
        """
        reached = reach.newest(self._asking.headers, known_revision or 0)
        if known_revision is not None:
            self._begin_epoch()
        first = 0 if known_revision is None else known_revision + 1
        self.missing = (
            f"documents of revisions {first} to {reached.revision - 1}: "
            "the answer that lists them is too long for the gateway"
        )
        log.warning(
            "out of reach host=%s missing=%s", self.machine.label, logging_setup.quote_value(self.missing)
        )
        metrics.revisions_out_of_reach.labels(**self._labels).set(reached.revision - first)
        return reached.headers

    def _started_over(self, found: Headers) -> bool:
        """Whether the revisions were reset or given out again: protocol, "Revisions can start over"."""
        known = self._position.revision
        if known is None or self._shows_head(found.headers, known):
            return False
        if found.missing_or_invalid:
            raise Dqm2InvalidResponse(
                "headers that are missing or can't be read may hide that no revisions started over"
            )
        return True

    def _shows_head(self, headers: Sequence[Header], known: int) -> bool:
        """Whether the head is where it must be: at the known revision as it was, or at a higher one."""
        at_known = [header for header in headers if header.revision == known]
        if at_known:
            return all(self._is_head(header) and self._is_as_mirrored(header) for header in at_known)
        return any(self._is_head(header) for header in headers if header.revision > known)

    def _is_head(self, header: Header) -> bool:
        return self._fetching.announced(header).identity == self._position.last_document

    def _is_as_mirrored(self, header: Header) -> bool:
        """Whether a header is that of the version that was mirrored, as far as its time tells."""
        return (
            None in (self._position.last_document_at, header.updated_at)
            or header.updated_at == self._position.last_document_at
        )

    def _begin_epoch(self) -> None:
        position = self._position.next_epoch()
        log.warning(
            "revisions started over host=%s epoch=%d after_rev=%s",
            self.machine.label,
            position.epoch,
            self._position.revision,
        )
        metrics.epochs_begun.labels(**self._labels).inc()
        self._write(Batch(self.machine.id, position, None, ()))
        self.missing = None
        metrics.revisions_out_of_reach.labels(**self._labels).set(0)

    def _newer(self, announced: Sequence[Announced]) -> Sequence[Announced]:
        """The documents that are newer than what is stored, of mirrored types as far as that can be told."""
        mirrored = [one for one in announced if one.header.type in _MIRRORED_TYPES]
        stored = self._means.writer.stored_versions([one.identity for one in mirrored])
        epoch = self._position.epoch
        return [one for one in mirrored if stored.get(one.identity, _NEVER) < (epoch, one.header.revision)]

    def _keep(self, part: Part) -> None:
        """Writes a part with the position that it brings."""
        last = part.announced[-1]
        position = replace(
            self._position,
            revision=last.header.revision,
            last_document=last.identity,
            last_document_at=last.header.updated_at,
        )
        clock_at = _clock(part.announced)
        sifted = part.sifted
        self._write(Batch(self.machine.id, position, clock_at, sifted.rows, sifted.set_aside))
        self.behind -= len(part.announced)
        for field in sifted.left_out:
            metrics.values_left_out.labels(self._means.cluster.value, field).inc()
        if clock_at is not None:
            metrics.newest_document_timestamp.labels(**self._labels).set(clock_at.timestamp())

    def _look_again(self) -> "Generator[None, None, None]":
        """Asks again for what is set aside: it may have been the way, or a newer release understands it."""
        aside = self._means.writer.quarantined_revisions(self.machine.id, self._position.epoch)
        if not aside:
            self._second_look.worked()
            return
        self._second_look.failed()
        try:
            found = self._asking.headers(min(aside.values()))
            still = [
                header
                for header in found.headers
                if aside.get(self._fetching.announced(header).identity) == header.revision
            ]
            with self._sifting(0) as sifting:
                for part in self._fetching.parts(still[-_MOST_LOOKED_AT:], lambda all_: all_, sifting):
                    self._write(Batch(self.machine.id, self._position, None, part.sifted.rows))
                    yield
        except (Dqm2Failed, Dqm2InvalidResponse) as error:
            reason = logging_setup.quote_value(self._means.redact(str(error)))
            log.info("not looked at again host=%s reason=%s", self.machine.label, reason)

    def _write(self, batch: Batch) -> None:
        """Writes a batch; what the database refuses of it is set aside."""
        try:
            self._means.writer.write_batch(batch)
        except RowRejected:
            batch = self._without_refused(batch)
            self._means.writer.write_batch(batch)
        self._position = batch.checkpoint
        self._written += len(batch.rows)
        for row in batch.rows:
            metrics.documents_mirrored.labels(**self._labels, type=row.type.value).inc()
        if batch.quarantined:
            self._tell_set_aside(batch)

    def _without_refused(self, batch: Batch) -> Batch:
        """The batch less the rows that the database refuses when they are written one by one."""
        accepted: list[DocumentRow] = []
        set_aside = list(batch.quarantined)
        for row in batch.rows:
            try:
                self._means.writer.write_batch(Batch(self.machine.id, self._position, None, (row,)))
            except RowRejected as refusal:
                origin, reason = row.document, f"the database refuses it: {refusal}"
                set_aside.append(QuarantinedDocument(origin.identity, origin.revision, row.type, reason))
            else:
                accepted.append(row)
        return replace(batch, rows=accepted, quarantined=set_aside)

    def _tell_set_aside(self, batch: Batch) -> None:
        for item in batch.quarantined:
            log.warning(
                "set aside host=%s type=%s rev=%d reason=%s",
                self.machine.label,
                logging_setup.quote_value(item.document_type),
                item.revision,
                logging_setup.quote_value(item.reason),
            )
        metrics.documents_set_aside.labels(**self._labels).inc(len(batch.quarantined))
        self._second_look.forgive()
        self._second_look.failed()

    def _tell(self) -> None:
        """Tells what was mirrored at the end of a catch-up, and how far a long one is after each slice."""
        seconds = time.monotonic() - self._began_s
        revision = self._position.revision or 0
        metrics.revision.labels(**self._labels).set(revision)
        metrics.revision_lag.labels(**self._labels).set(self._highest - revision)
        metrics.documents_behind.labels(**self._labels).set(self.behind)
        if self._catch_up is not None:
            done = self._total - self.behind
            log.info(
                "mirroring host=%s headers=%d of=%d documents=%d per_s=%.0f left_s=%.0f",
                self.machine.label,
                done,
                self._total,
                self._written,
                done / seconds,
                seconds / done * self.behind,
            )
            return
        metrics.mirrored_timestamp.labels(**self._labels).set_to_current_time()
        if self._written:
            log.info(
                "mirrored host=%s documents=%d rev=%s seconds=%.2f",
                self.machine.label,
                self._written,
                self._position.revision,
                seconds,
            )


def _clock(announced: Sequence[Announced]) -> datetime | None:
    """The machine's own clock: the time of the newest document that is announced."""
    latest = datetime.now(UTC) + _FUTURE
    times = (one.header.updated_at for one in reversed(announced))
    return next((time for time in times if time is not None and time < latest), None)
