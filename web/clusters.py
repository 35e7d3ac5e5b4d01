"""The clusters' databases as requests see them: a reader each, and a refusal at once while one is away."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask, current_app

import db
from dqmsquare_cfg import Settings
from mirror.reader import MirrorReader
from mirror.records import Cluster

_EXTENSION = "mirror_clusters"


@dataclass(frozen=True)
class Clusters:
    """A reader for each cluster."""

    readers: Mapping[Cluster, MirrorReader]


def init_app(app: Flask, settings: Settings) -> None:
    """Gives an application its readers; nothing is connected until the first question."""
    app.extensions[_EXTENSION] = Clusters({cluster: _reader(settings, cluster) for cluster in Cluster})


def reader(cluster: Cluster) -> MirrorReader:
    """The reader of a cluster's database."""
    clusters: Clusters = current_app.extensions[_EXTENSION]
    return clusters.readers[cluster]


def _reader(settings: Settings, cluster: Cluster) -> MirrorReader:
    return MirrorReader(_database(settings, cluster), timedelta(seconds=settings.stuck_after_s))


def _database(settings: Settings, cluster: Cluster) -> sa.Engine:
    return db.engine(settings, cluster, "server", pool_size=settings.server_threads)
