"""Follow a run and print its crashes, until a newer run has begun and no job of this one reports any more."""

import argparse
import os
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter, Retry

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("url", help="such as https://cmsweb.cern.ch/dqm/dqm-square")
parser.add_argument("--db", default="production", help="production or playback")
parser.add_argument("--run", type=int, help="by default the newest")
parser.add_argument("--every", type=float, default=10, metavar="SECONDS", help="pause between requests")
args = parser.parse_args()
url = args.url.rstrip("/")
session = requests.Session()
session.cert = os.environ.get("X509_USER_PROXY")  # CMSWEB asks for a certificate.
session.mount(url, HTTPAdapter(max_retries=Retry(8, backoff_factor=1, status_forcelist=[503])))


def call(**parameters: Any) -> Any:
    response = session.get(f"{url}/api", params={"db": args.db, **parameters}, timeout=30)
    response.raise_for_status()
    return response.json()


run = args.run or call(what="get_info")[1]
seen = set()
while True:
    (_, newer_run), (_, jobs) = call(what="get_run", run=run)
    for _, _, machine, exit_code, client, ls, _, _, job, _ in jobs:
        if exit_code not in (None, 0) and job not in seen:
            seen.add(job)
            link = f"{url}/job/{job}?db={args.db}"
            print(f"{client} crashed on {machine} at LS {ls}, exit code {exit_code}: {link}", flush=True)
    if newer_run and all(exit_code is not None or age_s > 900 for _, age_s, _, exit_code, *_ in jobs):
        break
    time.sleep(args.every)
