"""The floor: a client that fetches the same batches as the grabber and throws them away."""

import time

from config.parsers import short_name
from dqm2.client import Dqm2Client
from dqmsquare_cfg import Settings
from grabbing.parser_pool import MAX_BATCH


def fetch_all(settings: Settings, host: str) -> float:
    """Fetches every document of a machine over one connection, batch by batch; seconds."""
    client = Dqm2Client(settings)
    began_s = time.monotonic()
    ids = [header.id for header in client.get_headers(short_name(host), None).headers]
    for start in range(0, len(ids), MAX_BATCH):
        client.get_documents(host, ids[start : start + MAX_BATCH])
    client.close()
    return time.monotonic() - began_s
