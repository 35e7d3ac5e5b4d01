"""Follow a run and print its crashes, until a newer run has begun and no job of this one reports any more."""

import argparse
import os
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter, Retry

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("url", help="such as https://cmsweb.cern.ch/dqm/dqm-square")
parser.add_argument("--cluster", default="production", help="production or playback")
parser.add_argument("--run", type=int, help="by default the newest")
parser.add_argument("--every", type=float, default=10, metavar="SECONDS", help="pause between requests")
args = parser.parse_args()
url = args.url.rstrip("/")
session = requests.Session()
session.cert = os.environ.get("X509_USER_PROXY")  # CMSWEB asks for a certificate.
session.mount(url, HTTPAdapter(max_retries=Retry(8, backoff_factor=1, status_forcelist=[503])))


def get(path: str, **query: Any) -> Any:
    response = session.get(f"{url}/api/v1/clusters/{args.cluster}{path}", params=query, timeout=30)
    response.raise_for_status()
    return response.json()


number = args.run or get("/runs", limit=1)["items"][0]["run"]
seen = set()
while True:
    run = get(f"/runs/{number}")
    for job in get(f"/runs/{number}/jobs", state="crashed")["items"]:
        if job["id"] not in seen:
            seen.add(job["id"])
            link = f"{url}/job/{job['id']}?db={args.cluster}"
            where = f"on {job['machine']} at LS {job['lumisection']}, exit code {job['exit_code']}"
            print(f"{job['client']} crashed {where}: {link}", flush=True)
    if run["next_run"] and run["state"] == "ended":
        break
    time.sleep(args.every)
