"""The daemon that keeps a cluster mirrored: `python grabber.py production | playback`, without a word both.

It takes the cluster, brings its machines up to date one after the other, asks for the cluster's status on a
schedule of its own, and pauses (`grabbing/scheduler.py`). Without its database it waits; another grabber
that holds the cluster it waits for. `--once` makes one pass over all machines; its status is 0 if each was
mirrored, 1 otherwise.
"""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial

import sqlalchemy as sa

import db
import dqmsquare_cfg
from db import SecretChanged
from dqm2.client import Dqm2Client
from dqm2.pseudonyms import Pseudonymizer
from dqm2.redaction.redactor import get_redactor
from dqmsquare_cfg import Cluster, Settings, SettingsError
from grabbing import health, metrics
from grabbing.certificate_monitor import CertificateWatch
from grabbing.document_pipeline import Rules, Sifter
from grabbing.gateway_queue import Line, Stop, Stopped, settle
from grabbing.heartbeat import Heartbeat
from grabbing.liveness import Pulse
from grabbing.machine_sync import Means
from grabbing.maintenance import Upkeep
from grabbing.scheduler import Rounds
from runtime import logging_setup, malloc, systemd_notify
from storage.leader_lock import LeaderLock, LeadershipLost
from storage.writer import MirrorWriter

log = logging.getLogger("grabber")

# The longest sleep between two looks at what is due.
_LONGEST_SLEEP_S = 5.0
# The longest between two at whether the cluster is free, and whether the database is there again.
_LONGEST_WAIT_S = 3.0
# How long the batch in hand may take once the program is to end: supervisors kill after 5 s and more.
_LAST_BATCH_S = 3.0


class SchemaTooNew(Exception):
    """A newer release has changed the database in a way that this one can't work with."""


class Occupied(Exception):
    """The database holds tables of an earlier mirror, to be taken over, or of another program."""


class Grabber:
    """Keeps one cluster mirrored until `stop` is set."""

    def __init__(self, settings: Settings, cluster: Cluster, stop: Stop) -> None:
        self._database = db.engine(settings, cluster, "grabber")
        self._database_name = settings.database(cluster)
        self._cluster = cluster
        self._stop = stop
        self.pulse = Pulse(cluster)
        self._claim = LeaderLock(self._database)
        self._writer = MirrorWriter(self._database, self._claim.leader_id)
        self._identities = Pseudonymizer(settings.pseudonym_secret)
        self._heartbeat = Heartbeat(self._writer)
        self._upkeep = Upkeep(self._database, settings.job_log_retention)
        self._certificate = CertificateWatch(settings.server_grid_cert_path, cluster)
        self._redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
        self._sleep_s = min(settings.grabber_sleep_time_info, _LONGEST_SLEEP_S)
        self._wait_s = min(settings.grabber_sleep_time_info, _LONGEST_WAIT_S)
        self._rounds = Rounds(
            self._means(settings),
            self._heartbeat,
            settings.machines(cluster),
            pause_s=settings.grabber_sleep_time_info,
            status_pause_s=settings.grabber_sleep_time_status,
        )

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
            except Occupied as error:
                if not is_waiting:
                    is_waiting = True
                    log.warning("waiting cluster=%s: its database has %s", self._cluster, error)
            except Stopped:
                break
            except LeadershipLost:
                log.warning(
                    "lost cluster=%s: another grabber took it, or the database is gone", self._cluster
                )
                self._give_back()
            except sa.exc.SQLAlchemyError as error:
                self._database_failed(error)
                self._give_back()
            self.pulse.turned()
            self._stop.wait(self._wait_s)
        self._give_back()

    def once(self) -> bool:
        """One pass over all machines; whether each was mirrored.

        Raises as `run`, Occupied, and SQLAlchemy's errors.
        """
        try:
            if not self._take_cluster():
                log.error("another grabber holds cluster=%s: nothing was mirrored", self._cluster)
                return False
            is_whole = self._rounds.once()
            self._claim.release()
        except Stopped:
            return False
        except LeadershipLost:
            log.error("another grabber took cluster=%s meanwhile", self._cluster)
            return False
        else:
            return is_whole
        finally:
            self._give_back()

    def _means(self, settings: Settings) -> Means:
        """What its machines are mirrored with."""
        rules = Rules(settings.known_hosts, settings.redaction_allowed_hosts)
        return Means(
            cluster=self._cluster,
            client=Dqm2Client(settings),
            line=Line(self._stop, self._look_up, every_s=1.0),
            writer=self._writer,
            identities=self._identities,
            redact=self._redact,
            rules=rules,
            sifter=Sifter(rules),
            dictionary=self._upkeep.dictionary,
        )

    def _take_cluster(self) -> bool:
        """Takes the cluster if it is free: schema, secret and machines made ready."""
        schema = db.migrate(self._database)
        if schema.state is db.SchemaState.TOO_NEW:
            raise SchemaTooNew(self._database_name)
        if schema.state in (db.SchemaState.LEGACY, db.SchemaState.FOREIGN):
            raise Occupied(str(schema))
        if not self._claim.acquire():
            return False
        self._upkeep.begin()
        self._rounds.begin(self._writer.take_over(self._identities.check_value()))
        self.pulse.took_cluster()
        self._look_up()
        log.info("took cluster=%s", self._cluster)
        return True

    def _mirror_while_held(self) -> None:
        while not self._stop.is_set:
            self._claim.ensure_held()
            has_more = self._rounds.round()
            self._look_up()
            self._upkeep.turn(is_idle=not has_more)
            if not has_more:
                self._stop.wait(self._sleep_s)

    def _look_up(self) -> None:
        """Tells that it lives, and what of."""
        self._heartbeat.certificate_ends(self._certificate.ends_at())
        self._heartbeat.beat_if_due()
        self.pulse.turned()

    def _give_back(self) -> None:
        self.pulse.gave_back()
        self._rounds.leave()
        self._claim.close()
        self._database.dispose()

    def _database_failed(self, error: sa.exc.SQLAlchemyError) -> None:
        metrics.database_errors.labels(self._cluster.value).inc()
        reason = logging_setup.quote_value(self._redact(_database_reason(error)))
        log.warning("failed database of cluster=%s reason=%s", self._cluster, reason)


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
    malloc.give_back_early()
    stop = _stop_on_signals()
    settings = dqmsquare_cfg.load_or_exit()
    _prepare(settings, clusters)
    grabbers = [Grabber(settings, cluster, stop) for cluster in clusters]
    pulses = [grabber.pulse for grabber in grabbers]
    _serve_health(settings, pulses)
    systemd_notify.start(
        dqmsquare_cfg.read_sd_notify(),
        lambda: all(pulse.why_not_alive() is None for pulse in pulses),
    )
    ends = [_started(partial(_guarded, grabber, stop, once=chosen.once)) for grabber in grabbers]
    _wait_for_the_end(ends, stop)
    return max(end.result() if end.done() else 0 for end in ends)


def _started(run: Callable[[], int]) -> "Future[int]":
    """Runs on a thread of its own, which ends with the program whatever it waits for."""
    end: Future[int] = Future()
    threading.Thread(target=settle, args=(end, run), daemon=True).start()
    return end


def _wait_for_the_end(ends: Sequence["Future[int]"], stop: Stop) -> None:
    """Waits until all have ended; once they are to stop, no longer than a batch may take.

    What a database that hangs has not committed by then it drops, position and all.
    """
    all_ended = _started(lambda: len(wait(ends).done))
    stop.wait_with(all_ended, None)
    if not wait([all_ended], _LAST_BATCH_S).done:
        log.warning("ended in the middle of a batch: the database does not answer")


def _guarded(grabber: Grabber, stop: Stop, *, once: bool) -> int:
    """Runs a grabber; when it ends in trouble, the program ends, and with it the other one."""
    status = 1
    try:
        if once:
            return 0 if grabber.once() else 1
        grabber.run()
        status = 0
    except SecretChanged:
        log.error("PSEUDONYM_SECRET is not the one that this database was made under; put that one back")
    except SchemaTooNew as error:
        log.error("the schema of database %s is of a newer release; start that, or an empty database", error)
    except Occupied as error:
        log.error("the database has %s", error)
    except sa.exc.SQLAlchemyError as error:
        log.error("the database fails: %s", _database_reason(error))
    finally:
        if not once:
            stop.set()
    return status


def _prepare(settings: Settings, clusters: Sequence[Cluster]) -> None:
    role = f"grabber-{clusters[0]}" if len(clusters) == 1 else "grabber"
    redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
    try:
        logging_setup.configure(settings, role, debug=settings.grabber_debug, redact=redact)
    except SettingsError as error:
        dqmsquare_cfg.exit_with_errors(error.lines)
    logging_setup.install_excepthooks()
    for warning in settings.warnings:
        log.warning("%s", warning)


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


def _serve_health(settings: Settings, pulses: Sequence[Pulse]) -> None:
    for pulse in pulses:
        port = settings.grabber_metrics_port(pulse.cluster)
        if not port:
            continue
        try:
            health.serve(settings.server_host, port, pulse)
        except OSError as error:
            variable = f"GRABBER_{pulse.cluster.upper()}_METRICS_PORT"
            dqmsquare_cfg.exit_with_errors(
                [f"{variable} is {port}, which can't be listened on: {error.strerror}"]
            )


if __name__ == "__main__":
    sys.exit(main())
