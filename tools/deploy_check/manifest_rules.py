"""What the mirror asks of its manifests beyond the schemas: that they speak of what the program has.

A cluster finds out at its own time that a volume is missing, a port is another, a probe asks for a route that
is none, or a setting is misspelt. These rules find out before.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from werkzeug.exceptions import HTTPException

import dqmsquare_cfg
import dqmsquare_mirror
from dqmsquare_cfg import SETTINGS, Cluster, Settings, SettingsError
from grabbing.health import PATHS as GRABBER_PATHS
from runtime import version
from server import create_app
from tools.deploy_check.manifests import Body, Manifest, Manifests, Pod

_PLACEHOLDER = "CHANGEME"
_HTTPS = 443
_DNS = 53
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# The image itself can't be written to: what is written lies in a volume of one of these kinds.
_WRITABLE = ("persistentVolumeClaim", "emptyDir")

Rule = Callable[[Manifests], Iterator[str]]


def problems(manifests: Manifests) -> list[str]:
    """Every sentence of every rule; those that need settings come in once the secret makes some."""
    unsettled = [sentence for rule in SETTINGS_RULES for sentence in rule(manifests)]
    return unsettled or [sentence for rule in RULES for sentence in rule(manifests)]


def secret_has_every_setting(manifests: Manifests) -> Iterator[str]:
    """Each setting of the program stands in the secret, and nothing else does."""
    given, known = manifests.settings(), [setting.name for setting in SETTINGS]
    for name in known:
        if name not in given:
            yield f"the secret has no {name}, which is a setting"
    for name in given.keys() - set(known):
        yield f"the secret has {name}, which is not a setting"


def secret_is_refused_for_its_placeholders_alone(manifests: Manifests) -> Iterator[str]:
    """The program refuses the secret as it comes, by the names of what must be filled in alone."""
    given = manifests.settings()
    placeholders = {name for name, value in given.items() if _PLACEHOLDER in value}
    refused = _refused(given)
    for name in sorted(placeholders - refused):
        yield f"the program takes {_PLACEHOLDER} for a value of {name}"
    for name in sorted(refused - placeholders):
        yield f"the program refuses the secret's {name}, which is no placeholder"


def volumes_and_mounts_agree(manifests: Manifests) -> Iterator[str]:
    """Every volume is mounted, every mount has its volume, every claim and storage class is there."""
    claims = {claim.name for claim in manifests.of("PersistentVolumeClaim")}
    for pod in manifests.pods():
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", ())}
        mounted = {mount["name"] for one in pod.containers for mount in one.get("volumeMounts", ())}
        for name in sorted(volumes.keys() - mounted):
            yield f"{pod.owner}: volume {name} is not mounted"
        for name in sorted(mounted - volumes.keys()):
            yield f"{pod.owner}: {name} is mounted and is no volume"
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and claim not in claims:
                yield f"{pod.owner}: there is no claim {claim}"
    classes = {found.name for found in manifests.of("StorageClass")}
    for claim in manifests.of("PersistentVolumeClaim"):
        if claim.body["spec"]["storageClassName"] not in classes:
            yield f"{claim}: there is no storage class {claim.body['spec']['storageClassName']}"


def paths_lie_in_mounts(manifests: Manifests) -> Iterator[str]:
    """What is written lies where the pod can write, what is read of others where it is mounted."""
    for pod in manifests.pods():
        settings = {**manifests.settings(), **_plain_environment(pod)}
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        mounts = {mount["mountPath"]: volumes.get(mount["name"], {}) for mount in pod.main["volumeMounts"]}
        for name in ("LOG_DIR", "TMP_DIR"):
            found = _mount_of(settings[name], mounts)
            if found is None or not any(kind in found for kind in _WRITABLE):
                yield f"{pod.owner}: {name} is {settings[name]}, where nothing can be written"
        for name in ("SERVER_GRID_CERT_PATH", "SERVER_GRID_KEY_PATH"):
            if _mount_of(settings[name], mounts) is None:
                yield f"{pod.owner}: {name} is {settings[name]}, where nothing is mounted"


def secrets_are_there(manifests: Manifests) -> Iterator[str]:
    """The settings come from the secret that the manifests make."""
    made = {secret.name for secret in manifests.of("Secret")}
    for pod in manifests.pods():
        asked = {source.get("secretRef", {}).get("name") for source in pod.main.get("envFrom", ())}
        if asked != made:
            yield f"{pod.owner}: its settings come from {sorted(map(str, asked))}, not from {sorted(made)}"


def programs_run_a_part(manifests: Manifests) -> Iterator[str]:
    """What a container is told to run is a part of the program, a grabber's cluster one of the two."""
    for pod in manifests.pods():
        match pod.main.get("args"):
            case ["grabber", cluster] if cluster in list(Cluster):
                expected = f"grabber-{cluster}"
            case [part] if part in dqmsquare_mirror.COMMANDS:
                expected = part
            case other:
                yield f"{pod.owner}: {other} is no part of the program"
                continue
        if expected != pod.role:
            yield f"{pod.owner}: it runs {expected}"


def ports_match(manifests: Manifests) -> Iterator[str]:
    """Containers listen, Prometheus asks and services lead where the settings say."""
    settings = _filled(manifests)
    for pod in manifests.pods():
        expected = _ports_of(pod.role, settings)
        if dict(pod.ports) != expected:
            yield f"{pod.owner}: its ports are {dict(pod.ports)}, by the settings {expected}"
        if pod.annotations.get("prometheus.io/port") != str(expected["metrics"]):
            yield f"{pod.owner}: Prometheus is told another port than {expected['metrics']}"
    for service in manifests.of("Service"):
        behind = _selected(manifests, service.body["spec"]["selector"])
        for port in service.body["spec"]["ports"]:
            if any(pod.ports.get(port["targetPort"]) != port["port"] for pod in behind):
                yield f"{service}: port {port['port']} is not that of {port['targetPort']} behind it"


def network_lets_through_what_is_needed(manifests: Manifests) -> Iterator[str]:
    """In come visitors and Prometheus, out go names, DQM² and PostgreSQL, for each pod."""
    settings = _filled(manifests)
    out = {_DNS, settings.postgres_port, urlsplit(settings.cmsweb_frontend_proxy_url).port or _HTTPS}
    for pod in manifests.pods():
        policies = [
            policy.body["spec"]
            for policy in manifests.of("NetworkPolicy")
            if _selects(policy.body["spec"]["podSelector"]["matchLabels"], pod)
        ]
        for way, needed in (("ingress", set(pod.ports.values())), ("egress", out)):
            allowed = {
                port["port"]
                for policy in policies
                for rule in policy.get(way, ())
                for port in rule.get("ports", ())
            }
            for port in sorted(needed - allowed):
                yield f"{pod.owner}: no network policy lets {way} by port {port}"


def probes_ask_for_routes(manifests: Manifests) -> Iterator[str]:
    """Every probe is there and asks a port that the container has for a route that the program has."""
    server_has = _routes_of_the_server(_filled(manifests))
    for pod in manifests.pods():
        has = server_has if pod.role == "server" else GRABBER_PATHS.__contains__
        for probe in _PROBES:
            asked = pod.main.get(probe, {}).get("httpGet")
            if asked is None:
                yield f"{pod.owner}: it has no {probe}"
                continue
            if asked["port"] not in pod.ports:
                yield f"{pod.owner}: its {probe} asks port {asked['port']}, which it does not have"
            if not has(asked["path"]):
                yield f"{pod.owner}: its {probe} asks for {asked['path']}, which is no route"


def selectors_find_pods(manifests: Manifests) -> Iterator[str]:
    """Whoever selects pods by their labels finds some; a deployment finds its own and no other's."""
    for pod in manifests.pods():
        found = _selected(manifests, pod.owner.body["spec"]["selector"]["matchLabels"])
        if found != [pod]:
            yield f"{pod.owner}: its selector finds {[other.owner.name for other in found]}"
    for manifest in manifests:
        selector = _selector(manifest)
        if selector is not None and not _selected(manifests, selector):
            yield f"{manifest}: its selector finds no pod"


def pods_are_confined(manifests: Manifests) -> Iterator[str]:
    """Not root, nothing but what is mounted to write to, no rights to gain, bounds on what is used."""
    for pod in manifests.pods():
        context = pod.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{pod.owner}: it may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault" or "fsGroup" not in context:
            yield f"{pod.owner}: it needs seccompProfile RuntimeDefault and an fsGroup"
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.owner}: it gets a token of the cluster, which it has no use for"
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.owner}: services of the namespace become variables that look like settings"
        for container in pod.containers:
            yield from (f"{pod.owner}: {container['name']} {trouble}" for trouble in _loose_ends(container))


def images_are_this_version(manifests: Manifests) -> Iterator[str]:
    """Every container is of the image that is tagged with the program's version."""
    tag = f"v{version.NUMBER}"
    for pod in manifests.pods():
        for container in pod.containers:
            if not container["image"].endswith(f"/dqmsquare_mirror:{tag}"):
                yield f"{pod.owner}: {container['name']} is of {container['image']}, the program is {tag}"


def dockerfile_problems(dockerfile: str, manifests: Manifests) -> list[str]:
    """Where the Dockerfile and the manifests speak of different versions, users or ports."""
    found = []
    if f'image.version="v{version.NUMBER}"' not in dockerfile:
        found.append(f"Dockerfile: its version label is not v{version.NUMBER}")
    exposed = set(" ".join(re.findall(r"^EXPOSE (.*)$", dockerfile, re.MULTILINE)).split())
    user = re.findall(r"^USER (\d+):", dockerfile, re.MULTILINE)
    for pod in manifests.pods():
        if missing := {str(port) for port in pod.ports.values()} - exposed:
            found.append(f"Dockerfile: it does not expose {sorted(missing)} of {pod.owner.name}")
        if user != [str(pod.spec["securityContext"].get("runAsUser"))]:
            found.append(f"Dockerfile: its user is {user}, {pod.owner.name} runs as another")
    return found


SETTINGS_RULES: tuple[Rule, ...] = (
    secret_has_every_setting,
    secret_is_refused_for_its_placeholders_alone,
)
RULES: tuple[Rule, ...] = (
    volumes_and_mounts_agree,
    paths_lie_in_mounts,
    secrets_are_there,
    programs_run_a_part,
    ports_match,
    network_lets_through_what_is_needed,
    probes_ask_for_routes,
    selectors_find_pods,
    pods_are_confined,
    images_are_this_version,
)


def _refused(given: Mapping[str, str]) -> set[str]:
    """The settings that the program refuses to start with."""
    try:
        dqmsquare_cfg.load({"ENV_FILE": "", **given})
    except SettingsError as error:
        return {line.split()[0] for line in error.lines}
    return set()


def _filled(manifests: Manifests) -> Settings:
    """The settings that the secret makes once its placeholders are filled in."""
    filled = {
        name: value.replace(_PLACEHOLDER, "filled-in-by-the-operator")
        for name, value in manifests.settings().items()
    }
    return dqmsquare_cfg.load({"ENV_FILE": "", **filled})


def _ports_of(role: str, settings: Settings) -> dict[str, int]:
    if role == "server":
        return {"http": settings.server_port, "metrics": settings.server_metrics_port}
    return {"metrics": settings.grabber_metrics_port(Cluster(role.removeprefix("grabber-")))}


def _routes_of_the_server(settings: Settings) -> Callable[[str], bool]:
    with TemporaryDirectory() as folder:
        environment = {
            "ENV_FILE": "",
            "DQM_FFF_SECRET": "none",
            "LOG_DIR": folder,
            "TMP_DIR": folder,
            "SERVER_URL_PREFIX": settings.server_url_prefix,
        }
        routes = create_app(dqmsquare_cfg.load(environment)).url_map.bind("")

    def has(path: str) -> bool:
        try:
            routes.match(path)
        except HTTPException:
            return False
        return True

    return has


def _plain_environment(pod: Pod) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod.main.get("env", ()) if "value" in entry}


def _mount_of(path: str, mounts: Mapping[str, Body]) -> Body | None:
    """The volume that a path lies in; None if it lies in the image."""
    around = [mount for mount in mounts if PurePosixPath(path).is_relative_to(mount)]
    return mounts[max(around, key=len)] if around else None


def _selector(manifest: Manifest) -> Mapping[str, str] | None:
    spec = manifest.body.get("spec", {})
    match manifest.kind:
        case "Service":
            selector: Mapping[str, str] = spec["selector"]
        case "PodDisruptionBudget":
            selector = spec["selector"]["matchLabels"]
        case "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        case _:
            return None
    return selector


def _selected(manifests: Manifests, selector: Mapping[str, str]) -> list[Pod]:
    return [pod for pod in manifests.pods() if _selects(selector, pod)]


def _selects(selector: Mapping[str, str], pod: Pod) -> bool:
    return selector.items() <= dict(pod.labels).items()


def _loose_ends(container: Body) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain rights"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its own image"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"
    resources = container.get("resources", {})
    for bound in ("requests", "limits"):
        if not {"cpu", "memory"} <= resources.get(bound, {}).keys():
            yield f"has no {bound} of cpu and memory"
