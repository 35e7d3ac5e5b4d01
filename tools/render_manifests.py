"""Rendering of the Kubernetes manifests for one CMSWEB cluster: `make manifests CLUSTER=… TAG=…`.

`k8_config_testbed.yaml` is written so that CMSWEB's own deploy script takes it as its
`services/dqmsquare.yaml`: an image without a tag before ` #imagetag`, and `k8s #k8s#` as the value of the
label `env`. This module makes the same two replacements and adds the network policies of the cluster. Options
add what not every cluster has: a claim for log files, the grid CAs of the nodes, and ports of receivers of
notifications.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from runtime import version

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "k8_config_testbed.yaml"
_POLICIES = Path("services", "kubernetes")
_EVERY_CLUSTER = "network_policy_all.yaml"
_NOTIFICATIONS = "network_policy_notifications.yaml"
_MAX_PORT = 65535

TAG_MARKER = " #imagetag"
ENVIRONMENT_MARKER = "k8s #k8s#"
PORT_MARKER = "5432 #postgres-port"
# The word that CMSWEB's deploy script wants in a tag on production.
_STABLE = "stable"

LOG_FOLDER = "/cinder/dqmsquare"
GRID_CAS = "/etc/grid-security/certificates"
# Log folders of pods that no longer exist are removed after so long.
_KEEP_LOGS_DAYS = 30


class Target(StrEnum):
    """The CMSWEB clusters, as `CLUSTER=` names them."""

    TEST = "test4"
    PREPRODUCTION = "preproduction"
    PRODUCTION = "production"


# The value that CMSWEB's deploy script gives `k8s #k8s#`, and the network policy of the cluster.
_ENVIRONMENTS = {
    Target.TEST: ("k8s-test4", "test"),
    Target.PREPRODUCTION: ("k8s-preprod", "testbed"),
    Target.PRODUCTION: ("k8s-prod", "production"),
}


@dataclass(frozen=True)
class Options:
    """Options of a rendering.

    `postgres_port`: the only port of PostgreSQL that pods may reach.
    `log_claim`: the claim of a share for log files; empty: logs go to standard error alone.
    `notify_ports`: ports beside 443 on which grabbers may reach receivers of notifications.
    `grid_cas`: mounts the nodes' grid CAs and verifies the front end with them.
    """

    target: Target
    tag: str
    postgres_port: int
    log_claim: str = ""
    grid_cas: bool = False
    notify_ports: tuple[int, ...] = ()


def render(options: Options, root: Path = ROOT) -> str:
    """The manifests of a cluster as one YAML stream. Raises ValueError for a tag that it does not take."""
    _check_tag(options)
    environment, policy = _ENVIRONMENTS[options.target]
    files = (CONFIG, _POLICIES / f"network_policy_{policy}.yaml", _POLICIES / _EVERY_CLUSTER)
    text = "---\n".join((root / file).read_text(encoding="utf-8") for file in files)
    text = text.replace(TAG_MARKER, f":{options.tag}").replace(ENVIRONMENT_MARKER, environment)
    text = text.replace(PORT_MARKER, str(options.postgres_port))
    if options.notify_ports:
        text += "---\n" + _notify_policies(options.notify_ports, root)
    changes = [
        *([_log_to(options.log_claim)] if options.log_claim else []),
        *([_mount_grid_cas] if options.grid_cas else []),
    ]
    return _changed(text, changes) if changes else text


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the manifests of a cluster below `build/` and prints the file's path."""
    options = _parse(arguments)
    path = ROOT / "build" / f"manifests-{options.target}.yaml"
    try:
        text = render(options)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


def _check_tag(options: Options) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", options.tag):
        raise ValueError(f"TAG is {options.tag!r}, which is no image tag")
    if options.target is Target.PRODUCTION and _STABLE not in options.tag:
        raise ValueError(
            f"TAG is {options.tag!r}; on production CMSWEB takes tags with {_STABLE!r} in them only"
        )


def _notify_policies(ports: Sequence[int], root: Path) -> str:
    """The network policies that let grabbers reach receivers of notifications on these ports."""
    if not all(1 <= port <= _MAX_PORT for port in ports):
        raise ValueError(f"NOTIFY_PORTS has {list(ports)}; accepted: ports from 1 to {_MAX_PORT}")
    text = (root / _POLICIES / _NOTIFICATIONS).read_text(encoding="utf-8")
    policies = list(yaml.safe_load_all(text))
    for policy in policies:
        policy["spec"]["egress"] = [{"ports": [{"port": port} for port in ports]}]
    return yaml.safe_dump_all(policies, sort_keys=False)


def _changed(text: str, changes: Sequence[Callable[[dict[str, Any]], None]]) -> str:
    """The manifests with changes made to the pod specification of every deployment."""
    bodies = [body for body in yaml.safe_load_all(text) if body is not None]
    for body in bodies:
        if body["kind"] == "Deployment":
            for change in changes:
                change(body["spec"]["template"]["spec"])
    return yaml.safe_dump_all(bodies, sort_keys=False)


def _log_to(claim: str) -> Callable[[dict[str, Any]], None]:
    """Log files on a share: a folder for each pod, since only processes of one node may share a file."""

    def change(pod: dict[str, Any]) -> None:
        [container] = pod["containers"]
        mount = {"name": "logs", "mountPath": LOG_FOLDER}
        container.setdefault("env", []).extend(
            [
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LOG_DIR", "value": f"{LOG_FOLDER}/log/$(POD_NAME)"},
            ]
        )
        container["volumeMounts"].append(mount)
        pod["volumes"].append({"name": "logs", "persistentVolumeClaim": {"claimName": claim}})
        pod["initContainers"] = [_old_log_remover(container, mount)]

    return change


def _old_log_remover(container: dict[str, Any], mount: dict[str, str]) -> dict[str, Any]:
    """Removes log folders of pods that are gone; a failure does not keep the pod from starting."""
    folder = f"{LOG_FOLDER}/log"
    find = f"find {folder} -mindepth 1 -maxdepth 1 -type d -mtime +{_KEEP_LOGS_DAYS} -exec rm -rf {{}} +"
    return {
        "name": "remove-old-logs",
        "image": container["image"],
        "command": ["sh", "-c", f"[ ! -d {folder} ] || {find} || echo 'some old logs could not be removed'"],
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "100m", "memory": "64Mi"},
        },
        "securityContext": container["securityContext"],
        "volumeMounts": [mount],
    }


def _mount_grid_cas(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    container.setdefault("env", []).append({"name": "CMSWEB_CA_PATH", "value": GRID_CAS})
    container["volumeMounts"].append({"name": "grid-cas", "mountPath": GRID_CAS, "readOnly": True})
    pod["volumes"].append({"name": "grid-cas", "hostPath": {"path": GRID_CAS, "type": "Directory"}})


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tools.render_manifests", description=__doc__)
    parser.add_argument("--cluster", required=True, choices=[str(target) for target in Target])
    parser.add_argument("--tag", default=f"v{version.NUMBER}", help="tag of the image (default: %(default)s)")
    parser.add_argument(
        "--postgres-port", type=int, required=True, metavar="PORT", help="port of the secret's POSTGRES_PORT"
    )
    parser.add_argument("--log-claim", default="", metavar="CLAIM", help="claim for log files; default: none")
    parser.add_argument(
        "--notify-port",
        type=int,
        action="append",
        default=[],
        metavar="PORT",
        help="port beside 443 of a receiver of notifications, may be repeated; default: none",
    )
    parser.add_argument("--grid-cas", action="store_true", help=f"mount the nodes' {GRID_CAS}")
    chosen = parser.parse_args(arguments)
    return Options(
        Target(chosen.cluster),
        chosen.tag,
        chosen.postgres_port,
        chosen.log_claim,
        chosen.grid_cas,
        tuple(chosen.notify_port),
    )


if __name__ == "__main__":
    sys.exit(main())
