"""Rules for the files that manifests and image are made from: CMSWEB's deploy script can use them.

The facts of CMSWEB are those of docs/operator.md.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from runtime import version
from tools.deploy_check.manifest_rules import IMAGE, UID
from tools.deploy_check.manifests import CLAIM, Manifests
from tools.render_manifests import CONFIG, ENVIRONMENT_MARKER, TAG_MARKER

# Storage classes that CMSWEB's clusters have had ready.
STORAGE_CLASSES = ("meyrin-cephfs", "geneva-cephfs-testing")
# CMSWEB's deploy script applies `CONFIG` with the role `edit`.
_IN_CONFIG = {"Service", "Deployment", "PodDisruptionBudget"}


def manifest_problems(root: Path) -> list[str]:
    """Violations in the unrendered manifests: the markers of CMSWEB's deploy script, and the claim."""
    config = (root / CONFIG).read_text(encoding="utf-8")
    images = re.findall(r"^\s*image: (.*)$", config, re.MULTILINE)
    bodies = [body for body in yaml.safe_load_all(config) if body is not None]
    claim = list(yaml.safe_load_all((root / CLAIM).read_text(encoding="utf-8")))
    return [
        *(
            f"{CONFIG}: image {one!r} is not {IMAGE}{TAG_MARKER}"
            for one in images
            if one != IMAGE + TAG_MARKER
        ),
        *(
            f"{CONFIG}: a {body['kind']} does not belong here"
            for body in bodies
            if body["kind"] not in _IN_CONFIG
        ),
        *([] if f"env: {ENVIRONMENT_MARKER}" in config else [f"{CONFIG}: no pod has a label env"]),
        *_claim_problems(claim),
    ]


def dockerfile_problems(dockerfile: str, manifests: Manifests) -> list[str]:
    """Disagreement of Dockerfile and manifests on version, user, ports or wrapper."""
    found = []
    if f'image.version="v{version.NUMBER}"' not in dockerfile:
        found.append(f"Dockerfile: its version label is not v{version.NUMBER}")
    exposed = set(" ".join(re.findall(r"^EXPOSE (.*)$", dockerfile, re.MULTILINE)).split())
    if (user := re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE)) != [f"{UID}:{UID}"]:
        found.append(f"Dockerfile: its user is {user}, not {UID}:{UID}")
    if "mv services/dqmsquare_k8_wrapper.sh . " not in dockerfile:
        found.append("Dockerfile: dqmsquare_k8_wrapper.sh is not in the working folder")
    needed = {str(port) for pod in manifests.pods() for port in pod.ports.values()}
    return [*found, *(f"Dockerfile: it does not expose {port}" for port in sorted(needed - exposed))]


def _claim_problems(bodies: list[Any]) -> Iterator[str]:
    for body in bodies:
        if body["kind"] != "PersistentVolumeClaim":
            yield f"{CLAIM}: the role edit may not make a {body['kind']}"
        elif body["spec"]["storageClassName"] not in STORAGE_CLASSES:
            yield f"{CLAIM}: storage class {body['spec']['storageClassName']} is none of {STORAGE_CLASSES}"
        elif body["spec"]["accessModes"] != ["ReadWriteMany"]:
            yield f"{CLAIM}: several pods write to it, so it must be ReadWriteMany"
