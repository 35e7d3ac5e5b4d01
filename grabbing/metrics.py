"""Prometheus metrics of a grabber; machines appear by their label."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_CLUSTER = ["cluster"]
_MACHINE = ["cluster", "machine"]

documents_mirrored = Counter(
    "dqmsquare_documents_mirrored_total", "Documents written to the database", [*_MACHINE, "type"]
)
documents_quarantined = Counter(
    "dqmsquare_documents_quarantined_total", "Documents that could not be parsed or stored", _MACHINE
)
fields_dropped = Counter(
    "dqmsquare_fields_dropped_total",
    "Documents in which all or part of a field was rejected, and invalid headers and status entries",
    [*_CLUSTER, "field"],
)
upstream_received_bytes = Counter(
    "dqmsquare_upstream_received_bytes_total", "Bytes received from DQM²", _CLUSTER
)
upstream_request_duration = Histogram(
    "dqmsquare_upstream_request_duration_seconds",
    "Duration of a request to DQM²",
    [*_MACHINE, "operation"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 5, 10, 30, 120),
)
upstream_errors = Counter(
    "dqmsquare_upstream_errors_total", "Requests to DQM² that failed", [*_MACHINE, "error"]
)
database_errors = Counter("dqmsquare_database_errors_total", "Database operations that failed", _CLUSTER)
revision_resets = Counter(
    "dqmsquare_revision_resets_total", "Times that a machine's revisions started over", _MACHINE
)
revision = Gauge("dqmsquare_revision", "Revision up to which a machine is mirrored", _MACHINE)
documents_behind = Gauge(
    "dqmsquare_documents_behind", "Documents of a machine that are still to be mirrored", _MACHINE
)
revision_lag = Gauge(
    "dqmsquare_revision_lag", "Revisions of a machine that are still to be mirrored", _MACHINE
)
revisions_unavailable = Gauge(
    "dqmsquare_revisions_unavailable", "Revisions of a machine that cannot be fetched", _MACHINE
)
last_sync_timestamp = Gauge(
    "dqmsquare_last_sync_timestamp_seconds",
    "Time at which documents of a machine were last mirrored, or it had no new ones",
    _MACHINE,
)
newest_document_timestamp = Gauge(
    "dqmsquare_newest_document_timestamp_seconds", "Time of a machine's newest document", _MACHINE
)
last_loop_timestamp = Gauge(
    "dqmsquare_grabber_last_loop_timestamp_seconds", "Time at which the main loop last ran", _CLUSTER
)
certificate_expiry_timestamp = Gauge(
    "dqmsquare_certificate_expiry_timestamp_seconds", "Expiry of the grid certificate", _CLUSTER
)
is_leader = Gauge("dqmsquare_grabber_is_leader", "Whether this grabber mirrors the cluster", _CLUSTER)
notifier_errors = Counter(
    "dqmsquare_notifier_errors_total",
    "Unexpected errors after which the notifier, or the watch for transitions, continued",
    _CLUSTER,
)
_RECEIVER = ["cluster", "receiver"]
notifications_sent = Counter("dqmsquare_notifications_sent_total", "Messages that were delivered", _RECEIVER)
notification_failures = Counter(
    "dqmsquare_notification_failures_total", "Attempts to deliver a message that failed", _RECEIVER
)
notifications_dropped = Counter(
    "dqmsquare_notifications_dropped_total", "Things that could not be reported for a day", _RECEIVER
)
notifications_pending = Gauge(
    "dqmsquare_notifications_pending", "Things with notifications still to be sent to a receiver", _RECEIVER
)


def start_at_zero(cluster: str, receivers: Iterable[str]) -> None:
    """Export the counters of notifications before they count, so that alerts see the first increase."""
    notifier_errors.labels(cluster)
    for receiver in receivers:
        for counter in (notifications_sent, notification_failures, notifications_dropped):
            counter.labels(cluster, receiver)
