"""Kubernetes manifests as objects, validated against Kubernetes' own schemas."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from runtime import version
from tools.render_manifests import CONFIG, Options, Target, render

CLAIM = "k8_claim_testbed.yaml"
SECRET = "k8_secret.yaml"  # noqa: S105 - a file name
STORAGE_CLASS = "services/kubernetes/storage_class_developer.yaml"

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Manifest:
    """One object of a manifest file."""

    file: str
    body: Body

    @property
    def kind(self) -> str:
        """Its kind, e.g. `Deployment`."""
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        """Its name in the namespace."""
        return str(self.body.get("metadata", {}).get("name", ""))

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} {self.name}"


@dataclass(frozen=True)
class Pod:
    """The pods of a deployment: their labels, annotations and containers."""

    owner: Manifest

    @property
    def role(self) -> str:
        """The part of the mirror that it runs: `server`, `grabber-production` or `grabber-playback`."""
        return self.owner.name.removeprefix("dqm-square-mirror-")

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        labels: Mapping[str, str] = self.owner.body["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        annotations: Mapping[str, str] = self.owner.body["spec"]["template"]["metadata"]["annotations"]
        return annotations

    @property
    def spec(self) -> Body:
        """Its specification."""
        spec: Body = self.owner.body["spec"]["template"]["spec"]
        return spec

    @property
    def containers(self) -> list[Body]:
        """All its containers, init containers included."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def main(self) -> Body:
        """The container that runs the mirror."""
        main: Body = self.spec["containers"][0]
        return main

    @property
    def volumes(self) -> Mapping[str, Body]:
        """Its volumes by name."""
        return {volume["name"]: volume for volume in self.spec.get("volumes", ())}

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports of its main container by name."""
        return {port["name"]: port["containerPort"] for port in self.main.get("ports", ())}

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that its main container sets itself, without those from secrets."""
        return {entry["name"]: entry["value"] for entry in self.main.get("env", ()) if "value" in entry}


class Manifests:
    """The objects that are applied to one cluster."""

    def __init__(self, target: Target, manifests: Iterable[Manifest]) -> None:
        self.target = target
        self._manifests = tuple(manifests)

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self._manifests)

    def of(self, kind: str) -> list[Manifest]:
        """The objects of a kind."""
        return [manifest for manifest in self._manifests if manifest.kind == kind]

    def pods(self) -> list[Pod]:
        """The pods of each deployment."""
        return [Pod(deployment) for deployment in self.of("Deployment")]

    def settings(self) -> dict[str, str]:
        """The settings of the secret."""
        return {
            name: value for secret in self.of("Secret") for name, value in secret.body["stringData"].items()
        }


def read(root: Path, target: Target) -> Manifests:
    """All that is applied to a cluster, with every option: settings, log claim and grid CAs.

    Raises OSError and yaml.YAMLError.
    """
    claims = [] if target is not Target.TEST else _parse(CLAIM, (root / CLAIM).read_text(encoding="utf-8"))
    claim = claims[0].name if claims else CMSWEB_CLAIM
    secret = _parse(SECRET, (root / SECRET).read_text(encoding="utf-8"))
    port = int(Manifests(target, secret).settings()["POSTGRES_PORT"])
    options = Options(target, f"v{version.NUMBER}-stable", port, log_claim=claim, grid_cas=True)
    return Manifests(target, [*claims, *secret, *_parse(CONFIG, render(options, root))])


# The claim that CMSWEB makes on preproduction and production.
CMSWEB_CLAIM = "dqm-square-mirror-pvc"


def schema_problems(manifests: Iterable[Manifest]) -> list[str]:
    """Violations of Kubernetes' schemas; an unknown field is one too."""
    problems = []
    newest = kubernetes_validate.latest_version()
    for manifest in manifests:
        try:
            kubernetes_validate.validate(manifest.body, newest, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(map(str, error.path))
            problems.append(f"{manifest}: {place}: {error.message}")
    return problems


def _parse(file: str, text: str) -> list[Manifest]:
    return [Manifest(file, body) for body in yaml.safe_load_all(text) if body is not None]
