"""`/cr/state`: the newest run of each cluster and the state of each machine, beside their buttons."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flask import Blueprint, render_template
from werkzeug.wrappers import Response as BaseResponse

from dqmsquare_cfg import Cluster
from storage.client_rows import ClientRow, ClientState, count_by_state
from storage.read_models import Playback
from web import databases
from web.control_room import guards
from web.control_room.services import services
from web.errors import DatabaseUnavailable
from web.pages import freshness, live
from web.pages.freshness import ClusterFreshness, MachineFreshness
from web.pages.live import LiveRun, LiveViewParams
from web.responses import etag_response

bp = Blueprint("cluster_state", __name__)
guards.protect(bp)


@dataclass(frozen=True, slots=True)
class MachineOverview:
    """State of a machine and of its clients in the newest run; `status` is `None` if nothing is known of it.

    `running` is the number of its jobs that have not ended.
    """

    host: str
    cluster: Cluster
    run: int | None
    status: MachineFreshness | None
    counts: Mapping[ClientState, int]
    problems: tuple[ClientRow, ...]
    running: int
    playback: Playback | None


@dataclass(frozen=True, slots=True)
class ClusterOverview:
    """The newest run of a cluster and its machines by host name; `live` is `None` if it can't be read."""

    live: LiveRun | None
    machines: Mapping[str, MachineOverview]


@bp.get("/state")
def fragment() -> BaseResponse:
    """Show runs and machines, as a fragment that the page polls. It contains names of machines."""
    guards.require_expert()
    return etag_response(render_template("control_room/_state.html", states=read_all()))


def read_all() -> dict[Cluster, ClusterOverview]:
    """The state of both clusters. Without its database, that of a cluster is unknown."""
    return {cluster: _read(cluster) for cluster in Cluster}


def _read(cluster: Cluster) -> ClusterOverview:
    hosts = services().settings.machines(cluster)
    try:
        view = live.read_run(databases.stale_ok_reader(cluster), LiveViewParams(cluster))
        status = freshness.read(cluster)
    except DatabaseUnavailable:
        nothing = (MachineOverview(host, cluster, None, None, {}, (), 0, None) for host in hosts)
        return ClusterOverview(None, {state.host: state for state in nothing})
    return ClusterOverview(view, {state.host: state for state in _machines(cluster, hosts, view, status)})


def _machines(
    cluster: Cluster, hosts: tuple[str, ...], view: LiveRun, status: ClusterFreshness
) -> Iterator[MachineOverview]:
    by_label = {machine.label: machine for machine in status.machines}
    for host in hosts:
        label = services().machine_label(host)
        rows = [row for row in view.rows if row.newest is not None and row.newest.machine == label]
        yield MachineOverview(
            host=host,
            cluster=cluster,
            run=view.number,
            status=by_label.get(label),
            counts={state: number for state, number in count_by_state(rows).items() if number},
            problems=tuple(row for row in rows if row.needs_attention),
            running=sum(row.state in (ClientState.RUNNING, ClientState.STUCK) for row in rows),
            playback=view.playback if view.playback and view.playback.machine == label else None,
        )
