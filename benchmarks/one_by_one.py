"""The one-by-one mirror, as a first version of such a mirror would be written.

A plain loop: each document is asked for alone over a new connection and written in a transaction of its own.
What becomes of a document is the same as in the grabber, so that only the ways are compared.
"""

import time
from uuid import uuid4

import db
from dqm2.client import Dqm2Client
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqmsquare_cfg import Cluster, Settings
from grabbing.document_pipeline import DocumentProcessor, KeyedHeader, WorkItem
from storage.rows import Batch, Checkpoint
from storage.writer import MirrorWriter


def mirror(settings: Settings, host: str, most: int) -> float:
    """Mirrors `most` documents of a machine into the production cluster's database; seconds."""
    processor = DocumentProcessor(settings.known_hosts, settings.redaction_allowed_hosts)
    pseudonyms = Pseudonymizer(settings.pseudonym_secret)
    writer = MirrorWriter(db.engine(settings, Cluster.PRODUCTION, "benchmark"), uuid4())
    writer.take_over(pseudonyms.check_value())
    identity = pseudonyms.for_machine(host)
    machine = writer.register_machines({identity: default_label(host)})[identity]
    client = Dqm2Client(settings)
    began_s = time.monotonic()
    for header in client.get_headers(host, None).headers[:most]:
        client.close()
        keyed = KeyedHeader(header, pseudonyms.for_document(host, header.id))
        processed = processor.process(WorkItem([keyed], client.get_documents(host, [header.id])))
        position = Checkpoint(0, header.revision, keyed.identity, header.updated_at)
        writer.write_batch(
            Batch(machine.id, position, header.updated_at, processed.rows, processed.quarantined)
        )
    client.close()
    return time.monotonic() - began_s
