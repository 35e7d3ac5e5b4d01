"""The grabber mirrors a cluster into its database: `python grabber.py [production | playback]`, default both.

It acquires the leader lock, mirrors the cluster's machines one after the other, fetches the cluster status on
a schedule of its own, and pauses (`grabbing/scheduler.py`). Without its database, or while another grabber is
the leader, it waits. `--once` makes a single pass over all machines and exits with 0 if every machine was
mirrored.
"""

import argparse
import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from functools import partial

import sqlalchemy as sa

import db
import dqmsquare_cfg
from dqm2.client import Dqm2Client
from dqm2.pseudonyms import Pseudonymizer
from dqm2.redaction.redactor import get_redactor
from dqmsquare_cfg import Cluster, Settings
from grabbing import health, metrics
from grabbing.certificate_monitor import CertificateMonitor
from grabbing.document_pipeline import DocumentProcessor
from grabbing.gateway_queue import GatewayQueue
from grabbing.health import Liveness
from grabbing.heartbeat import Heartbeat
from grabbing.maintenance import Maintenance
from grabbing.notifier import Notifier
from grabbing.scheduler import ClusterScheduler
from grabbing.sender_process import refused_receivers
from grabbing.stop_event import StopEvent, Stopped, complete, stop_on_signals
from runtime import logging_setup, systemd_notify
from storage.job_state import StateRules
from storage.leader_lock import LeaderLock, LeadershipLost
from storage.schema import SchemaState, SecretChanged, migrate
from storage.transition_watch import TransitionWatch
from storage.writer import MirrorWriter

log = logging.getLogger("grabber")

# Maximum pauses between two checks of the schedule, and between two attempts to acquire the lock or to reach
# the database.
_MAX_PAUSE_S = 5.0
_MAX_WAIT_S = 3.0
# Time for the current batch on shutdown: supervisors wait at least 5 s before they kill.
_SHUTDOWN_TIMEOUT_S = 3.0
# Time for messages on their way. It is shorter: a shutdown beyond the time above is logged as the database's
# fault.
_DELIVERY_TIMEOUT_S = 2.0


class SchemaTooNew(Exception):
    """Raised when a newer release has migrated the database to a schema that this one cannot work with."""


class SchemaConflict(Exception):
    """Raised when the database has tables of an earlier mirror or of another program, or another encoding."""


class Grabber:
    """Mirrors one cluster until `stop` is set."""

    def __init__(self, settings: Settings, cluster: Cluster, stop: StopEvent) -> None:
        self._cluster = cluster
        self._stop = stop
        self.liveness = Liveness(cluster)
        self._database = db.engine(settings, cluster, "grabber")
        self._database_name = settings.database(cluster)
        self._lock = LeaderLock(self._database)
        watch = TransitionWatch(
            StateRules.for_cluster(settings, cluster),
            missing_after=timedelta(seconds=settings.missing_after_s),
            stale_after=timedelta(seconds=settings.stale_after_s),
        )
        on_watch_error = metrics.notifier_errors.labels(cluster.value).inc
        self._writer = MirrorWriter(self._database, self._lock.leader_id, watch, on_watch_error)
        self._processor = DocumentProcessor(settings.known_hosts, settings.redaction_allowed_hosts)
        self._pseudonyms = Pseudonymizer(settings.pseudonym_secret)
        self._heartbeat = Heartbeat(self._writer)
        self._notifier = Notifier(settings, cluster)
        self._maintenance = Maintenance(self._database, self._processor, settings.job_log_retention)
        self._certificate = CertificateMonitor(settings.server_grid_cert_path, cluster)
        self._scheduler = ClusterScheduler(
            GatewayQueue(cluster, Dqm2Client(settings), stop, self._report_liveness),
            self._writer,
            self._processor,
            self._pseudonyms,
            self._heartbeat,
            settings.machines(cluster),
            interval_s=settings.grabber_sleep_time_info,
            status_interval_s=settings.grabber_sleep_time_status,
        )
        self._pause_s = min(settings.grabber_sleep_time_info, _MAX_PAUSE_S)
        self._wait_s = min(settings.grabber_sleep_time_info, _MAX_WAIT_S)
        # As reported; a state that lasts is logged once, not at each attempt.
        self._database_fault: str | None = None
        self._waiting_reason: str | None = None

    def run(self) -> None:
        """Mirror until the stop is requested. Raises SecretChanged and SchemaTooNew."""
        while not self._stop.is_set:
            try:
                if self._acquire_lock():
                    self._mirror_while_leader()
                else:
                    self._report_waiting(logging.INFO, "another grabber holds the lock")
            except SchemaConflict as error:
                self._report_waiting(logging.WARNING, str(error))
            except Stopped:
                break
            except LeadershipLost:
                log.warning("lock_lost cluster=%s", self._cluster)
                self._release()
            except sa.exc.SQLAlchemyError as error:
                self._on_database_failure(error)
                self._release()
            self.liveness.tick()
            self._stop.wait(self._wait_s)
        # First, so that another grabber takes over while messages are on their way.
        self._release()
        self._notifier.stop(_DELIVERY_TIMEOUT_S)

    def run_once(self) -> bool:
        """Make one pass over all machines; return whether every machine was mirrored.

        Raises SecretChanged, SchemaTooNew, SchemaConflict and SQLAlchemyError.
        """
        try:
            if not self._acquire_lock():
                log.error('pass_failed cluster=%s reason="another grabber holds the lock"', self._cluster)
                return False
            is_complete = self._scheduler.run_once()
            self._lock.release()
        except Stopped:
            return False
        except LeadershipLost:
            log.error('pass_failed cluster=%s reason="the lock was lost"', self._cluster)
            return False
        else:
            return is_complete
        finally:
            self._release()

    def _acquire_lock(self) -> bool:
        """Migrate the schema and acquire the lock if it is free; return whether this grabber holds it."""
        schema = migrate(self._database)
        if schema.state is SchemaState.TOO_NEW:
            raise SchemaTooNew(self._database_name)
        if schema.state in (SchemaState.LEGACY, SchemaState.FOREIGN, SchemaState.ENCODING):
            raise SchemaConflict(str(schema))
        if not self._lock.acquire():
            self._report_database_up()
            return False
        self._maintenance.start()
        self._scheduler.start(self._writer.take_over(self._pseudonyms.check_value()))
        self.liveness.set_leader(True)
        self._report_liveness()
        self._waiting_reason = None
        log.info("lock_acquired cluster=%s", self._cluster)
        return True

    def _mirror_while_leader(self) -> None:
        self._notifier.set_leader(True)
        while not self._stop.is_set:
            self._lock.ensure_held()
            has_more = self._scheduler.run_due()
            self._report_database_up()
            self._report_liveness()
            self._maintenance.run_due(is_idle=not has_more)
            if not has_more:
                self._stop.wait(self._pause_s)

    def _report_liveness(self) -> None:
        self._heartbeat.set_certificate_expiry(self._certificate.expires_at())
        self._heartbeat.beat_if_due()
        self.liveness.tick()

    def _report_waiting(self, level: int, reason: str) -> None:
        if reason != self._waiting_reason:
            self._waiting_reason = reason
            log.log(
                level, "lock_waiting cluster=%s reason=%s", self._cluster, logging_setup.quote_value(reason)
            )

    def _on_database_failure(self, error: sa.exc.SQLAlchemyError) -> None:
        metrics.database_errors.labels(self._cluster.value).inc()
        reason = self._processor.redact(_database_reason(error))
        if reason != self._database_fault:
            self._database_fault = reason
            log.warning(
                "database_unavailable cluster=%s reason=%s", self._cluster, logging_setup.quote_value(reason)
            )

    def _report_database_up(self) -> None:
        if self._database_fault is not None:
            self._database_fault = None
            log.info("database_recovered cluster=%s", self._cluster)

    def _release(self) -> None:
        self.liveness.set_leader(False)
        self._notifier.set_leader(False)
        self._scheduler.abandon()
        self._lock.close()
        self._database.dispose()


def _database_reason(error: sa.exc.SQLAlchemyError) -> str:
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return f"{type(error).__name__}: {db.error_message(origin)}"


def main(arguments: list[str] | None = None) -> int:
    """Run the grabbers of the given clusters; return the exit status."""
    parser = argparse.ArgumentParser(prog="grabber.py", description="Mirror clusters into their databases.")
    parser.add_argument(
        "cluster",
        nargs="?",
        choices=[cluster.value for cluster in Cluster],
        help="cluster to mirror (default: both)",
    )
    parser.add_argument("--once", action="store_true", help="make one pass over all machines, then exit")
    options = parser.parse_args(arguments)
    clusters = [Cluster(options.cluster)] if options.cluster else list(Cluster)
    stop = stop_on_signals()
    settings = dqmsquare_cfg.load_or_exit()
    _set_up_logging(settings, clusters)
    grabbers = [Grabber(settings, cluster, stop) for cluster in clusters]
    _serve_health(settings, [grabber.liveness for grabber in grabbers])
    if not options.once:
        _check_receivers(settings)
    systemd_notify.start(
        dqmsquare_cfg.read_sd_notify(),
        lambda: all(grabber.liveness.liveness_problem() is None for grabber in grabbers),
    )
    statuses = [
        _run_in_thread(partial(_run_to_exit_code, grabber, stop, once=options.once)) for grabber in grabbers
    ]
    _wait_for_exit(statuses, stop)
    _kill_child_processes()
    return max(status.result() if status.done() else 0 for status in statuses)


def _kill_child_processes() -> None:
    """Kill the processes that parse and send; otherwise Python waits at exit until they end.

    A message that is cut off is sent again by the next grabber.
    """
    for process in multiprocessing.active_children():
        process.kill()


def _check_receivers(settings: Settings) -> None:
    """Exit if apprise refuses the URL of a receiver."""
    errors = [
        f"NOTIFY_URLS has the receiver {receiver.name!r} ({receiver.scheme}), but {reason}"
        for receiver, reason in refused_receivers(settings.notify_urls)
    ]
    if errors:
        dqmsquare_cfg.exit_with_errors(errors)


def _run_in_thread(run: Callable[[], int]) -> "Future[int]":
    """Run on a daemon thread, which does not delay the program's exit."""
    result: Future[int] = Future()
    threading.Thread(target=complete, args=(result, run), daemon=True).start()
    return result


def _wait_for_exit(statuses: Sequence["Future[int]"], stop: StopEvent) -> None:
    """Wait until all grabbers have ended; after a stop request, only for the shutdown timeout.

    A transaction that a hanging database has not committed by then is lost together with its checkpoint.
    """
    all_done = _run_in_thread(lambda: len(wait(statuses).done))
    stop.wait_or_done(all_done, None)
    if not wait([all_done], _SHUTDOWN_TIMEOUT_S).done:
        log.warning('shutdown_timed_out reason="the database does not answer; the current batch is lost"')


def _run_to_exit_code(grabber: Grabber, stop: StopEvent, *, once: bool) -> int:
    """Run a grabber; if it fails, stop the program and with it the other grabber."""
    status = 1
    try:
        if once:
            return 0 if grabber.run_once() else 1
        grabber.run()
        status = 0
    except SecretChanged:
        log.error(
            'secret_mismatch reason="the database was created with another PSEUDONYM_SECRET; restore it"'
        )
    except SchemaTooNew as error:
        log.error(
            "schema_too_new database=%s "
            'reason="created by a newer release; start that one, or restore the backup from before it"',
            error,
        )
    except SchemaConflict as error:
        log.error("schema_conflict reason=%s", logging_setup.quote_value(error))
    except sa.exc.SQLAlchemyError as error:
        log.error("database_unavailable reason=%s", logging_setup.quote_value(_database_reason(error)))
    finally:
        if not once:
            stop.set()
    return status


def _set_up_logging(settings: Settings, clusters: Sequence[Cluster]) -> None:
    role = f"grabber-{clusters[0]}" if len(clusters) == 1 else "grabber"
    redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
    logging_setup.configure(settings, role, debug=settings.grabber_debug, redact=redact)
    logging_setup.install_excepthooks()
    for warning in settings.warnings:
        log.warning("%s", warning)


def _serve_health(settings: Settings, livenesses: Sequence[Liveness]) -> None:
    for liveness in livenesses:
        port = settings.grabber_metrics_port(liveness.cluster)
        if not port:
            continue
        try:
            health.serve(settings.server_host, port, liveness)
        except OSError as error:
            variable = f"GRABBER_{liveness.cluster.upper()}_METRICS_PORT"
            dqmsquare_cfg.exit_with_errors([f"{variable} is {port}, which cannot be bound: {error.strerror}"])


if __name__ == "__main__":
    sys.exit(main())
