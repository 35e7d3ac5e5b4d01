"""What a grabber counts, for Prometheus; machines by label."""

from prometheus_client import Counter, Gauge, Histogram

documents_mirrored = Counter(
    "dqmsquare_documents_mirrored_total", "Documents written", ["cluster", "machine", "type"]
)
documents_set_aside = Counter(
    "dqmsquare_documents_set_aside_total", "Documents not understood", ["cluster", "machine"]
)
values_left_out = Counter(
    "dqmsquare_values_left_out_total", "Values of another shape than they must have", ["cluster", "field"]
)
bytes_read = Counter("dqmsquare_upstream_bytes_total", "Bytes read from DQM²", ["cluster"])
requests_seconds = Histogram(
    "dqmsquare_upstream_request_seconds",
    "Time of a request to DQM²",
    ["cluster", "machine", "question"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 5, 10, 30, 120),
)
request_errors = Counter(
    "dqmsquare_upstream_errors_total", "Requests to DQM² that failed", ["cluster", "machine", "kind"]
)
database_errors = Counter("dqmsquare_database_errors_total", "Writes that failed", ["cluster"])
epochs_begun = Counter(
    "dqmsquare_epochs_begun_total", "Times that a machine's revisions started over", ["cluster", "machine"]
)
revision = Gauge("dqmsquare_revision", "Revision up to which a machine is mirrored", ["cluster", "machine"])
documents_behind = Gauge(
    "dqmsquare_documents_behind", "Documents that a machine is ahead of the mirror", ["cluster", "machine"]
)
revision_lag = Gauge(
    "dqmsquare_revision_lag", "Revisions that a machine is ahead of the mirror", ["cluster", "machine"]
)
revisions_out_of_reach = Gauge(
    "dqmsquare_revisions_out_of_reach", "Revisions that can't be had of a machine", ["cluster", "machine"]
)
mirrored_timestamp = Gauge(
    "dqmsquare_mirrored_timestamp_seconds", "When a machine was last mirrored", ["cluster", "machine"]
)
newest_document_timestamp = Gauge(
    "dqmsquare_newest_document_timestamp_seconds", "A machine's own clock", ["cluster", "machine"]
)
loop_timestamp = Gauge("dqmsquare_loop_timestamp_seconds", "When the loop last turned", ["cluster"])
certificate_expiry_timestamp = Gauge(
    "dqmsquare_certificate_expiry_timestamp_seconds", "When the grid certificate ends", ["cluster"]
)
holds_cluster = Gauge("dqmsquare_holds_cluster", "Whether this grabber mirrors the cluster", ["cluster"])
