"""The daemon that keeps a cluster mirrored: `python grabber.py production | playback`, without a word both.

It takes the cluster, brings its machines up to date one after the other, asks for the cluster's status on a
schedule of its own, and pauses. A machine that fails is asked ever more rarely; trouble with the gateway,
which is everyone's, holds all machines back. What it knows of each link goes into its heartbeat, for the
pages to tell. `--once` makes one pass over all machines; its status is 0 if each was mirrored, 1 otherwise.
"""

import argparse
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import sqlalchemy as sa
from dqm2.documents import Allowlist
from dqm2.redact import Redactor
from prometheus_client import start_http_server

import db
import dqmsquare_cfg
import logs
from dqm2.client import Dqm2Client, Dqm2Error, Dqm2Refused, Dqm2Unreachable
from dqm2.identity import Identities, mask
from dqmsquare_cfg import Settings, SettingsError
from mirror import metrics
from mirror.claim import Claim, ClaimLost
from mirror.line import Line, Stop, Stopped
from mirror.links import Link, Links
from mirror.records import Cluster, MachineState
from mirror.sync import MachineSync
from mirror.writer import MirrorWriter, SecretChanged

log = logging.getLogger("grabber")

# A heartbeat at most so often: the only write at rest.
_BEAT_EVERY_S = 5.0
# The longest pauses for a machine that fails, and for a gateway that does.
_MACHINE_PAUSE_S = 60.0
_GATEWAY_PAUSE_S = 15.0
# How often one without the cluster looks whether it is free, and whether the database is there again.
_AGAIN_PAUSE_S = 3.0
_LONGEST_REASON = 500
# Pauses vary by so much of themselves, lest all that fail together are asked together ever after.
_JITTER = 0.2


class SchemaTooNew(Exception):
    """A newer release has changed the database in a way that this one can't work with."""


@dataclass
class Turn:
    """When something is due again: after its usual pause, or after ever longer ones while it fails."""

    usual_s: float
    first_s: float
    longest_s: float
    due_at: float = 0.0
    failures: int = 0

    def is_due(self) -> bool:
        """Whether its time has come."""
        return time.monotonic() >= self.due_at

    def worked(self) -> None:
        """It is due after the usual pause."""
        self.failures = 0
        self.due_at = time.monotonic() + self.usual_s

    def failed(self) -> None:
        """It is due after a pause that doubles with each failure in a row, up to the longest."""
        pause = min(self.longest_s, self.first_s * 2 ** min(self.failures, 16))
        self.failures += 1
        self.due_at = time.monotonic() + pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311


class Grabber:
    """Keeps one cluster mirrored until `stop` is set."""

    def __init__(self, settings: Settings, cluster: Cluster, stop: Stop) -> None:
        self._settings = settings
        self._cluster = cluster
        self._stop = stop
        self._database = db.engine(settings, cluster, "grabber")
        self._identities = Identities(settings.mirror_secret)
        self._redact = Redactor(settings.known_hosts, settings.public_sites)
        self._allowlist = Allowlist(self._identities, self._redact)
        self._client = Dqm2Client(settings)
        self._line = Line(stop, self._beat_if_due, every_s=1.0)
        self._claim = Claim(self._database)
        self._writer = MirrorWriter(self._database, self._claim.holder)
        self._machines: dict[str, MachineSync] = {}
        self._links = Links(gateway=Link(), machines={}, status=Link())
        pause = settings.grabber_sleep_time_info
        self._gateway_turn = Turn(0.0, pause, _GATEWAY_PAUSE_S)
        self._turns = {host: Turn(0.0, pause, _MACHINE_PAUSE_S) for host in settings.machines(cluster)}
        self._status_turn = Turn(
            settings.grabber_sleep_time_status,
            settings.grabber_sleep_time_status,
            4 * settings.grabber_sleep_time_status,
        )
        self._beat_at = 0.0

    def run(self) -> None:
        """Mirrors until it is to stop. Raises SecretChanged and SchemaTooNew."""
        is_waiting = False
        while not self._stop.is_set:
            try:
                if self._take_cluster():
                    is_waiting = False
                    self._mirror_while_held()
                elif not is_waiting:
                    is_waiting = True
                    log.info("waiting cluster=%s: another grabber holds it", self._cluster)
            except Stopped:
                break
            except ClaimLost:
                log.warning(
                    "lost cluster=%s: another grabber took it, or the database is gone", self._cluster
                )
                self._give_back()
            except sa.exc.SQLAlchemyError as error:
                self._database_failed(error)
                self._give_back()
            self._stop.wait(_AGAIN_PAUSE_S)
        self._give_back()

    def once(self) -> bool:
        """One pass over all machines; whether each was mirrored. Raises as `run`, and SQLAlchemy's errors."""
        try:
            if not self._take_cluster():
                log.error("another grabber holds cluster=%s: nothing was mirrored", self._cluster)
                return False
            mirrored = [self._mirror(host) for host in self._turns]
            self._ask_status()
            self._beat()
            return all(mirrored)
        except Stopped:
            return False
        except ClaimLost:
            log.error("another grabber took cluster=%s meanwhile", self._cluster)
            return False
        finally:
            self._give_back()

    def _take_cluster(self) -> bool:
        """Takes the cluster if it is free: schema, secret and machines made ready."""
        if db.migrate(self._database).state is db.SchemaState.TOO_NEW:
            raise SchemaTooNew(self._settings.database(self._cluster))
        if not self._claim.take():
            return False
        self._links = self._writer.begin(self._identities.check_value())
        self._register(self._turns)
        metrics.holds_cluster.labels(self._cluster.value).set(1)
        log.info("took cluster=%s machines=%d", self._cluster, len(self._machines))
        return True

    def _register(self, hosts: Iterable[str]) -> None:
        identities = {host: self._identities.of_machine(host) for host in hosts}
        machines = self._writer.register({identities[host]: mask(host) for host in hosts})
        self._machines = {
            host: MachineSync(
                self._cluster,
                host,
                machines[identity],
                client=self._client,
                line=self._line,
                writer=self._writer,
                allowlist=self._allowlist,
                identities=self._identities,
                redact=self._redact,
            )
            for host, identity in identities.items()
        }
        ids = [sync.machine.id for sync in self._machines.values()]
        known = self._links.machines
        self._links = replace(self._links, machines={id_: known.get(id_, Link()) for id_ in ids})

    def _mirror_while_held(self) -> None:
        while not self._stop.is_set:
            self._claim.confirm()
            if self._gateway_turn.is_due():
                self._one_round()
            self._beat_if_due()
            metrics.loop_timestamp.labels(self._cluster.value).set_to_current_time()
            self._stop.wait(min(self._settings.grabber_sleep_time_info, _BEAT_EVERY_S))

    def _one_round(self) -> None:
        """Every machine whose turn it is, then the status, until the gateway fails."""
        for host, turn in self._turns.items():
            if turn.is_due() and not self._mirror(host) and self._gateway_turn.failures:
                return
        if self._status_turn.is_due():
            self._ask_status()

    def _mirror(self, host: str) -> bool:
        """Brings a machine up to date; whether it could."""
        sync = self._machines[host]
        label, link = sync.machine.label, self._links.machines[sync.machine.id]
        try:
            sync.bring_up_to_date()
        except (Dqm2Unreachable, Dqm2Refused) as error:
            self._gateway_failed(error)
            return False
        except Dqm2Error as error:
            self._gateway_worked()
            self._turns[host].failed()
            reason = self._reason(error)
            log.warning("failed host=%s times=%d reason=%s", label, self._turns[host].failures, reason)
            self._set_link(sync, link.failed(_now(), reason))
            return False
        self._gateway_worked()
        self._turns[host].worked()
        self._set_link(sync, link.worked(_now()))
        self._beat_if_due()
        return True

    def _gateway_worked(self) -> None:
        if self._gateway_turn.failures:
            log.info("gateway answers again cluster=%s", self._cluster)
        self._gateway_turn.worked()
        self._set_gateway_link(self._links.gateway.worked(_now()))

    def _gateway_failed(self, error: Dqm2Error) -> None:
        self._gateway_turn.failed()
        reason = self._reason(error)
        log.warning(
            "failed gateway of cluster=%s times=%d reason=%s",
            self._cluster,
            self._gateway_turn.failures,
            reason,
        )
        self._set_gateway_link(self._links.gateway.failed(_now(), reason))

    def _ask_status(self) -> None:
        """Asks the gateway which machines answer, and writes down what has changed."""
        question = self._line.put(lambda: self._client.cluster_status(self._cluster))
        try:
            states = question.answer()
        except Dqm2Error as error:
            self._status_turn.failed()
            reason = self._reason(error)
            log.warning("failed cluster_status=%s reason=%s", self._cluster, reason)
            metrics.request_errors.labels(self._cluster.value, "gateway", type(error).__name__).inc()
            self._links = replace(self._links, status=self._links.status.failed(_now(), reason))
            return
        self._status_turn.worked()
        self._keep_states(states)

    def _keep_states(self, states: Sequence[MachineState]) -> None:
        checked_at = _now()
        identities = {state.machine: self._identities.of_machine(state.machine) for state in states}
        machines = self._writer.register({identities[name]: mask(name) for name in identities})
        by_id = {
            machines[identities[state.machine]].id: replace(state, reason=self._short(state.reason))
            for state in states
        }
        self._writer.write_states(by_id, checked_at)
        status = self._links.status.worked(checked_at)
        self._links = replace(self._links, status=status, status_machines=tuple(by_id))

    def _set_link(self, sync: MachineSync, link: Link) -> None:
        self._tell_soon_if_changed(self._links.machines[sync.machine.id], link)
        self._links = replace(self._links, machines={**self._links.machines, sync.machine.id: link})

    def _set_gateway_link(self, link: Link) -> None:
        self._tell_soon_if_changed(self._links.gateway, link)
        self._links = replace(self._links, gateway=link)

    def _tell_soon_if_changed(self, before: Link, after: Link) -> None:
        """A link that broke or works again is told with the next beat, which is then due at once."""
        if (before.failing_since is None) != (after.failing_since is None):
            self._beat_at = 0.0

    def _beat_if_due(self) -> None:
        if time.monotonic() - self._beat_at >= _BEAT_EVERY_S:
            self._beat()

    def _beat(self) -> None:
        self._writer.beat(self._links)
        self._beat_at = time.monotonic()

    def _give_back(self) -> None:
        metrics.holds_cluster.labels(self._cluster.value).set(0)
        self._claim.drop()

    def _database_failed(self, error: sa.exc.SQLAlchemyError) -> None:
        metrics.database_errors.labels(self._cluster.value).inc()
        log.warning(
            "failed database of cluster=%s reason=%s", self._cluster, self._short(_database_reason(error))
        )

    def _reason(self, error: Dqm2Error) -> str:
        return self._short(str(error)) or type(error).__name__

    def _short(self, text: str | None) -> str | None:
        """Text that came from P5, or may name it, as it may be kept and shown."""
        return None if text is None else self._redact(text)[:_LONGEST_REASON]


def _now() -> datetime:
    return datetime.now(UTC)


def _database_reason(error: sa.exc.SQLAlchemyError) -> str:
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return f"{type(error).__name__}: {str(origin).strip().partition(chr(10))[0]}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the grabbers of the clusters named; the program's exit status."""
    parser = argparse.ArgumentParser(prog="grabber.py", description="Keeps clusters mirrored.")
    parser.add_argument(
        "cluster", nargs="?", choices=[cluster.value for cluster in Cluster], help="both by default"
    )
    parser.add_argument("--once", action="store_true", help="one pass over all machines, then end")
    chosen = parser.parse_args(arguments)
    clusters = [Cluster(chosen.cluster)] if chosen.cluster else list(Cluster)
    settings = dqmsquare_cfg.load_or_exit()
    _prepare(settings, clusters)
    stop = _stop_on_signals()
    _serve_metrics(settings, clusters)
    grabbers = [Grabber(settings, cluster, stop) for cluster in clusters]
    with ThreadPoolExecutor(len(grabbers)) as threads:
        ends = [threads.submit(_guarded, grabber, stop, once=chosen.once) for grabber in grabbers]
        return max(end.result() for end in ends)


def _guarded(grabber: Grabber, stop: Stop, *, once: bool) -> int:
    """Runs a grabber; when it ends in trouble, the program ends, and with it the other one."""
    status = 1
    try:
        if once:
            return 0 if grabber.once() else 1
        grabber.run()
        status = 0
    except SecretChanged:
        log.error("MIRROR_SECRET is not the one that this database was made under; put that one back")
    except SchemaTooNew as error:
        log.error("the schema of database %s is of a newer release; start that, or an empty database", error)
    except sa.exc.SQLAlchemyError as error:
        log.error("the database fails: %s", _database_reason(error))
    finally:
        if not once:
            stop.set()
    return status


def _prepare(settings: Settings, clusters: Sequence[Cluster]) -> None:
    role = f"grabber-{clusters[0]}" if len(clusters) == 1 else "grabber"
    redact = Redactor(settings.known_hosts, settings.public_sites)
    try:
        logs.configure(settings, role, debug=settings.grabber_debug, redact=redact)
    except SettingsError as error:
        dqmsquare_cfg.refuse(error.lines)
    if not settings.verifies_tls:
        log.warning("TLS is NOT verified: CMSWEB_CA_PATH says so; anyone may pose as the front end")


def _stop_on_signals() -> Stop:
    """A stop that SIGTERM and SIGINT set. They are waited for on a thread, so that no code is interrupted."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    stop = Stop()

    def wait() -> None:
        signal.sigwait(signals)
        log.info("stopping")
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop


def _serve_metrics(settings: Settings, clusters: Sequence[Cluster]) -> None:
    for cluster in clusters:
        port = settings.grabber_metrics_port(cluster)
        if not port:
            continue
        try:
            start_http_server(port, addr=settings.server_host)
        except OSError as error:
            variable = f"GRABBER_{cluster.upper()}_METRICS_PORT"
            dqmsquare_cfg.refuse([f"{variable} is {port}, which can't be listened on: {error.strerror}"])


if __name__ == "__main__":
    sys.exit(main())
