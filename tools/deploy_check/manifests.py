"""The Kubernetes manifests as objects, held to Kubernetes' own schemas."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

FILES = ("k8_claim_testbed.yaml", "k8_secret.yaml", "k8_config_testbed.yaml")

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Manifest:
    """One object of a manifest file."""

    file: str
    body: Body

    @property
    def kind(self) -> str:
        """Its kind, `Deployment` and so on."""
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return str(self.body.get("metadata", {}).get("name", ""))

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} {self.name}"


@dataclass(frozen=True)
class Pod:
    """The pods of a deployment: what they are called, their labels, and what runs in them."""

    owner: Manifest

    @property
    def role(self) -> str:
        """Which part of the mirror it is: `server`, `grabber-production`, `grabber-playback`."""
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
        """All its containers, those that run first and end included."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def main(self) -> Body:
        """The container that runs the mirror."""
        main: Body = self.spec["containers"][0]
        return main

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports of its main container, by name."""
        return {port["name"]: port["containerPort"] for port in self.main.get("ports", ())}


class Manifests:
    """All objects of the manifest files."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self._manifests = manifests

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self._manifests)

    def of(self, kind: str) -> list[Manifest]:
        """Those of a kind."""
        return [manifest for manifest in self._manifests if manifest.kind == kind]

    def pods(self) -> list[Pod]:
        """The pods of each deployment."""
        return [Pod(deployment) for deployment in self.of("Deployment")]

    def settings(self) -> dict[str, str]:
        """What the secret sets."""
        return {
            name: value for secret in self.of("Secret") for name, value in secret.body["stringData"].items()
        }


def read(folder: Path) -> Manifests:
    """The manifests of a folder. Raises OSError and yaml.YAMLError."""
    return Manifests(
        [
            Manifest(file, body)
            for file in FILES
            for body in yaml.safe_load_all((folder / file).read_text())
            if body is not None
        ]
    )


def schema_problems(manifests: Manifests) -> list[str]:
    """What Kubernetes' schemas don't allow; a field that they don't know is a problem too."""
    problems = []
    newest = kubernetes_validate.latest_version()
    for manifest in manifests:
        try:
            kubernetes_validate.validate(manifest.body, newest, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(map(str, error.path))
            problems.append(f"{manifest}: {place}: {error.message}")
    return problems
