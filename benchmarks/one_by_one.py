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
from grabbing.document_pipeline import Announced, Order, Rules, Sifter
from storage.rows import Batch, Checkpoint
from storage.writer import MirrorWriter


def mirror(settings: Settings, host: str, most: int) -> float:
    """Mirrors `most` documents of a machine into the production cluster's database; seconds."""
    sifter = Sifter(Rules(settings.known_hosts, settings.redaction_allowed_hosts))
    identities = Pseudonymizer(settings.pseudonym_secret)
    writer = MirrorWriter(db.engine(settings, Cluster.PRODUCTION, "benchmark"), uuid4())
    writer.take_over(identities.check_value())
    identity = identities.for_machine(host)
    machine = writer.register_machines({identity: default_label(host)})[identity]
    client = Dqm2Client(settings)
    began_s = time.monotonic()
    for header in client.get_headers(host, None).headers[:most]:
        client.close()
        wanted = Announced(header, identities.for_document(host, header.id))
        sifted = sifter.sift(Order(host, [wanted], client.get_documents(host, [header.id])))
        position = Checkpoint(0, header.revision, wanted.identity, header.updated_at)
        writer.write_batch(Batch(machine.id, position, header.updated_at, sifted.rows, sifted.set_aside))
    client.close()
    return time.monotonic() - began_s
