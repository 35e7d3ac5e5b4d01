"""Baselines that the mirror is compared with: bare fetching, a one-by-one mirror, a bare Flask view."""

import time
from uuid import uuid4

from flask import Flask, Response

import db
from config.parsers import short_name
from dqm2.client import Dqm2Client
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqmsquare_cfg import Cluster, Settings
from grabbing.document_pipeline import DocumentProcessor, KeyedHeader, WorkItem
from grabbing.parser_pool import MAX_BATCH
from storage.rows import Batch, Checkpoint
from storage.writer import MirrorWriter


def fetch_all(settings: Settings, host: str) -> float:
    """Fetch every document of a machine in the grabber's batches and drop it; return the seconds.

    It is the lower bound of what any client can reach.
    """
    client = Dqm2Client(settings)
    started_at_s = time.monotonic()
    ids = [header.id for header in client.get_headers(short_name(host), None).headers]
    for start in range(0, len(ids), MAX_BATCH):
        client.get_documents(host, ids[start : start + MAX_BATCH])
    client.close()
    return time.monotonic() - started_at_s


def mirror_one_by_one(settings: Settings, host: str, limit: int) -> float:
    """Mirror up to `limit` documents of a machine in a plain loop; return the seconds.

    Each document is requested alone over a new connection and written in a transaction of its own. It is
    parsed as in the grabber, so that only the transport differs.
    """
    processor = DocumentProcessor(settings.known_hosts, settings.redaction_allowed_hosts)
    pseudonyms = Pseudonymizer(settings.pseudonym_secret)
    writer = MirrorWriter(db.engine(settings, Cluster.PRODUCTION, "benchmark"), uuid4())
    writer.take_over(pseudonyms.check_value())
    identity = pseudonyms.for_machine(host)
    machine = writer.register_machines({identity: default_label(host)})[identity]
    client = Dqm2Client(settings)
    started_at_s = time.monotonic()
    for header in client.get_headers(host, None).headers[:limit]:
        client.close()
        keyed = KeyedHeader(header, pseudonyms.for_document(host, header.id))
        processed = processor.process(WorkItem([keyed], client.get_documents(host, [header.id])))
        checkpoint = Checkpoint(0, header.revision, keyed.identity, header.updated_at)
        writer.write_batch(
            Batch(machine.id, checkpoint, header.updated_at, processed.rows, processed.quarantined)
        )
    client.close()
    return time.monotonic() - started_at_s


def create_bare_app() -> Flask:
    """Flask application that answers every request with 304: the lower bound of what a response costs."""
    app = Flask(__name__, static_folder=None)

    @app.get("/<path:_path>")
    def unchanged(_path: str) -> Response:
        return Response(status=304)

    return app
