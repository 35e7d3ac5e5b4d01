"""Effect of `kubectl apply` of our manifests on the objects that CMSWEB's clusters have today.

No API server is at hand, so the rules of Kubernetes that matter here are written down: which fields are
immutable, and how lists are merged. `EARLIER` describes the earlier mirror's objects, as CMSWEB's public
manifests have them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tools.deploy_check.manifests import Manifests

Body = Mapping[str, Any]

_APP = "dqm-square-mirror-server"

EARLIER: tuple[Body, ...] = (
    {
        "kind": "Service",
        "metadata": {"name": "dqm-square-k8", "namespace": "dqm"},
        "spec": {
            "selector": {"app": _APP},
            "ports": [
                {"name": "dqmsquare", "port": 8084, "targetPort": 8084},
                {"name": "dqmsquare-mon", "port": 18084, "targetPort": 18084},
            ],
        },
    },
    {
        "kind": "Deployment",
        "metadata": {"name": _APP, "namespace": "dqm", "labels": {"app": _APP}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": _APP}},
            "template": {
                "metadata": {"labels": {"app": _APP}},
                "spec": {
                    "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
                    "containers": [
                        {
                            "name": _APP,
                            "command": ["./dqmsquare_k8_wrapper.sh", "server"],
                            "args": [],
                            "envFrom": [{"secretRef": {"name": "dqmsecret"}}],
                        }
                    ],
                },
            },
        },
    },
    {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "dqm-square-mirror-pvc", "namespace": "dqm"},
        "spec": {"storageClassName": "", "accessModes": ["ReadWriteMany"]},
    },
    {"kind": "Secret", "metadata": {"name": "dqmsecret", "namespace": "dqm"}, "type": "Opaque"},
)


def problems(manifests: Manifests) -> list[str]:
    """Why applying the manifests over the earlier mirror would fail, or leave something of it running."""
    live = {(body["kind"], body["metadata"]["name"]): body for body in EARLIER}
    found = []
    for manifest in manifests:
        before = live.pop((manifest.kind, manifest.name), None)
        if before is not None:
            found += [f"{manifest}: {trouble}" for trouble in _troubles(before, manifest.body)]
    found += [
        f"{kind} {name} of the earlier mirror would stay" for kind, name in live if kind == "Deployment"
    ]
    return [*found, *_stolen_pods(manifests)]


def _troubles(before: Body, after: Body) -> Iterator[str]:
    for field in _IMMUTABLE.get(after["kind"], ()):
        if (was := _at(before, field)) is not None and was != (now := _at(after, field)):
            yield f"{field} is immutable: {was} can't become {now}"
    if after["kind"] == "Deployment":
        yield from _merged_containers(before, after)


# Fields that an update may not change, by Kubernetes' API reference; of a claim, only the size may change.
_IMMUTABLE: Mapping[str, Sequence[str]] = {
    "Deployment": ("spec.selector",),
    "Service": ("spec.clusterIP",),
    "PersistentVolumeClaim": ("spec.storageClassName", "spec.accessModes", "spec.volumeName"),
    "Secret": ("type",),
    "StorageClass": ("provisioner", "parameters", "reclaimPolicy"),
}


def _merged_containers(before: Body, after: Body) -> Iterator[str]:
    """Containers are merged by name: one that only the live object has may stay beside the new ones.

    Likewise `command` and `args` of a container stay unless the new manifest sets them.
    """
    path = "spec.template.spec.containers"
    was, now = ({one["name"]: one for one in _at(body, path)} for body in (before, after))
    for name in was.keys() - now.keys():
        yield f"the earlier container {name} would stay beside the new ones"
    for name in was.keys() & now.keys():
        for field in ("command", "args"):
            if was[name].get(field) is not None and now[name].get(field) is None:
                yield f"container {name} would keep its earlier {field}: {was[name][field]}"


def _stolen_pods(manifests: Manifests) -> Iterator[str]:
    """Pods of one deployment that a Service of today selects although they are not the server's."""
    for service in (body for body in EARLIER if body["kind"] == "Service"):
        for pod in manifests.pods():
            is_selected = _at(service, "spec.selector").items() <= dict(pod.labels).items()
            if is_selected != (pod.role == "server"):
                verb = "selects" if is_selected else "does not select"
                yield f"Service {service['metadata']['name']} {verb} the pods of {pod.owner.name}"


def _at(body: Body, path: str) -> Any:
    value: Any = body
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value
