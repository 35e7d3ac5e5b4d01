"""Ten years of a cluster, filled into an empty database by COPY: runs, jobs, file delivery, ups and downs.

All follows from one seed. Logs, series and deliveries are packed once for a few hundred jobs and then dealt
out, since it is their number and their size that count.
"""

import io
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched, count
from uuid import UUID, uuid4

import psycopg2.extensions
import sqlalchemy as sa

import db
from benchmarks import jobs_of_old
from dqm2.identity import Identities, mask
from dqm2.simulator.clients import CLIENTS
from dqmsquare_cfg import Settings
from mirror.links import Link, Links
from mirror.records import Cluster
from mirror.writer import MirrorWriter
