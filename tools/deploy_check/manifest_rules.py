"""Rules for the manifests beyond Kubernetes' schemas: they agree with the program and with CMSWEB's clusters.

A cluster reports a missing volume, a wrong port, a probe of an unknown route or a misspelt setting only when
it is too late. The facts of the clusters (names, selectors, uid, network peers) are those of
docs/operator.md.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from werkzeug.exceptions import HTTPException

import dqmsquare_cfg
import dqmsquare_mirror
from dqmsquare_cfg import SETTINGS, Cluster, Settings, SettingsError
from grabbing.health import PATHS as GRABBER_PATHS
from server import create_app
from tools.deploy_check.manifests import CMSWEB_CLAIM, Body, Manifest, Manifests, Pod
from tools.render_manifests import Target

_PLACEHOLDER = "CHANGEME"
_HTTPS = 443
_DNS = 53
_SERVER_PORT = 8084
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_WRITABLE_VOLUMES = ("persistentVolumeClaim", "emptyDir")

SERVER_APP = "dqm-square-mirror-server"
SERVICE = "dqm-square-k8"
IMAGE = "registry.cern.ch/cmsweb/dqmsquare_mirror"
WRAPPER = "./dqmsquare_k8_wrapper.sh"
# The user of the earlier mirror's pods; files on a share belong to it.
UID = 1000

# Peers of the server's port: their namespace, and the label of their pods.
_PEERS: Mapping[Target, tuple[str, str, frozenset[str]]] = {
    Target.PRODUCTION: ("kube-system", "app.kubernetes.io/name", frozenset({"ingress-nginx"})),
    Target.PREPRODUCTION: ("auth", "app", frozenset({"frontend"})),
    Target.TEST: (
        "auth",
        "app",
        frozenset({"auth-proxy-server", "scitokens-proxy-server", "x509-proxy-server"}),
    ),
}
_MONITORING = "monitoring"
_NAMESPACE = "kubernetes.io/metadata.name"

Rule = Callable[[Manifests], Iterator[str]]


def problems(manifests: Manifests) -> list[str]:
    """Violations of all rules; the rules that need settings run only if the secret yields valid ones."""
    unsettled = [sentence for rule in SETTINGS_RULES for sentence in rule(manifests)]
    return unsettled or [sentence for rule in RULES for sentence in rule(manifests)]


def names_and_selectors_match_cmsweb(manifests: Manifests) -> Iterator[str]:
    """Service and server keep the earlier names and selector; each grabber has an `app` of its own."""
    expected = {"app": SERVER_APP}
    for service in manifests.of("Service"):
        if service.name != SERVICE or service.body["spec"]["selector"] != expected:
            yield f"{service}: CMSWEB's ingress needs {SERVICE} with the selector {expected}"
    for pod in manifests.pods():
        selector = pod.owner.body["spec"]["selector"]["matchLabels"]
        if selector != {"app": pod.owner.name}:
            yield f"{pod.owner}: its selector is {selector}, not app: {pod.owner.name} alone"
        if not {"app", "env"} <= pod.labels.keys():
            yield f"{pod.owner}: CMSWEB's metrics need the pod labels app and env"
        if pod.main["name"] != pod.owner.name:
            yield f"{pod.owner}: its container must be called like the deployment"


def secret_has_every_setting(manifests: Manifests) -> Iterator[str]:
    """The secret has every setting of the program, and nothing else."""
    given, known = manifests.settings(), [setting.name for setting in SETTINGS]
    for name in known:
        if name not in given:
            yield f"the secret lacks the setting {name}"
    for name in given.keys() - set(known):
        yield f"the secret has {name}, which is not a setting"


def secret_is_refused_for_its_placeholders_alone(manifests: Manifests) -> Iterator[str]:
    """The program rejects the secret as it is, and names exactly the values that must be filled in."""
    given = manifests.settings()
    placeholders = {name for name, value in given.items() if _PLACEHOLDER in value}
    refused = _refused(given)
    for name in sorted(placeholders - refused):
        yield f"the program accepts {_PLACEHOLDER} as a value of {name}"
    for name in sorted(refused - placeholders):
        yield f"the program rejects the secret's {name}, which is no placeholder"


def volumes_and_mounts_agree(manifests: Manifests) -> Iterator[str]:
    """Every volume is mounted, every mount has its volume, every claim exists."""
    claims = {claim.name for claim in manifests.of("PersistentVolumeClaim")} | {CMSWEB_CLAIM}
    for pod in manifests.pods():
        mounted = {mount["name"] for one in pod.containers for mount in one.get("volumeMounts", ())}
        for name in sorted(pod.volumes.keys() - mounted):
            yield f"{pod.owner}: volume {name} is not mounted"
        for name in sorted(mounted - pod.volumes.keys()):
            yield f"{pod.owner}: {name} is mounted but is no volume"
        for volume in pod.volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and claim not in claims:
                yield f"{pod.owner}: there is no claim {claim}"


def paths_lie_in_mounts(manifests: Manifests) -> Iterator[str]:
    """Folders for output lie in writable volumes, files for input in mounted ones."""
    for pod in manifests.pods():
        settings = {**manifests.settings(), **pod.environment}
        mounts = {
            mount["mountPath"]: pod.volumes.get(mount["name"], {}) for mount in pod.main["volumeMounts"]
        }
        for name in filter(settings.get, ("LOG_DIR", "TMP_DIR")):
            found = _mount_of(settings[name], mounts)
            if found is None or not any(kind in found for kind in _WRITABLE_VOLUMES):
                yield f"{pod.owner}: {name} is {settings[name]}, which is not in a writable volume"
        for name in _files_of(pod):
            if settings.get(name) and _mount_of(settings[name], mounts) is None:
                yield f"{pod.owner}: {name} is {settings[name]}, where nothing is mounted"


def secrets_are_there(manifests: Manifests) -> Iterator[str]:
    """The settings come from the secret of the manifests."""
    made = {secret.name for secret in manifests.of("Secret")}
    for pod in manifests.pods():
        asked = {source.get("secretRef", {}).get("name") for source in pod.main.get("envFrom", ())}
        if asked != made:
            yield f"{pod.owner}: its settings come from {sorted(map(str, asked))}, not from {sorted(made)}"


def programs_run_a_part(manifests: Manifests) -> Iterator[str]:
    """The command of a container runs the part of the program that its deployment is named after."""
    for pod in manifests.pods():
        match pod.main.get("command"):
            case [script, "server-only"] if script == WRAPPER:
                role = "server"
            case [script, "grabber", cluster] if script == WRAPPER and cluster in list(Cluster):
                role = f"grabber-{cluster}"
            case other:
                yield f"{pod.owner}: {other} runs no part of the program"
                continue
        if role != pod.role:
            yield f"{pod.owner}: it runs {role}"
        if role.partition("-")[0] not in dqmsquare_mirror.COMMANDS:
            yield f"{pod.owner}: {role} is no part of the program"


def ports_match(manifests: Manifests) -> Iterator[str]:
    """Container ports, Prometheus' annotation and service ports are those of the settings."""
    settings = _filled(manifests)
    for pod in manifests.pods():
        expected = _ports_of(pod.role, settings)
        if set(pod.ports.values()) != set(expected.values()):
            yield f"{pod.owner}: its ports are {sorted(pod.ports.values())}, by the settings {expected}"
        if pod.annotations.get("prometheus.io/port") != str(expected["metrics"]):
            yield f"{pod.owner}: Prometheus' annotation names another port than {expected['metrics']}"
    for service in manifests.of("Service"):
        behind = _selected(manifests, service.body["spec"]["selector"])
        for port in service.body["spec"]["ports"]:
            target = port["targetPort"]
            if any(pod.ports.get(target, target) not in pod.ports.values() for pod in behind):
                yield f"{service}: no container listens on {target}"
            if port["port"] != target:
                yield f"{service}: port {port['port']} leads to {target}"


def network_admits_cmswebs_peers_alone(manifests: Manifests) -> Iterator[str]:
    """Port 8084 is open to the peers of CMSWEB's own policy, metrics to Prometheus, nothing to all."""
    namespace, label, names = _PEERS[manifests.target]
    for policy in manifests.of("NetworkPolicy"):
        for rule in policy.body["spec"].get("ingress", ()):
            peers = [_peer(one) for one in rule.get("from", ())]
            ports = {port["port"] for port in rule.get("ports", ())}
            if not peers or not ports:
                yield f"{policy}: an ingress rule without peers or ports opens the pods to the whole cluster"
            elif _SERVER_PORT in ports and peers != [(namespace, {label: names})]:
                yield f"{policy}: port {_SERVER_PORT} is for {sorted(names)} in {namespace} alone"
            elif _SERVER_PORT not in ports and peers != [(_MONITORING, {})]:
                yield f"{policy}: metrics are for namespace {_MONITORING} alone"


def network_lets_through_what_is_needed(manifests: Manifests) -> Iterator[str]:
    """Visitors and Prometheus may reach the pods; the pods may reach DNS, DQM² and PostgreSQL."""
    settings = _filled(manifests)
    out = {_DNS, settings.postgres_port, urlsplit(settings.cmsweb_frontend_proxy_url).port or _HTTPS}
    for pod in manifests.pods():
        policies = [
            policy.body["spec"]
            for policy in manifests.of("NetworkPolicy")
            if _selects(policy.body["spec"]["podSelector"]["matchLabels"], pod)
        ]
        for direction, needed in (("ingress", set(pod.ports.values())), ("egress", out)):
            allowed = {
                port["port"]
                for policy in policies
                for rule in policy.get(direction, ())
                for port in rule.get("ports", ())
            }
            for port in sorted(needed - allowed):
                yield f"{pod.owner}: no network policy allows {direction} by port {port}"


def probes_ask_for_routes(manifests: Manifests) -> Iterator[str]:
    """Every probe exists, and asks an open port for a route of the program."""
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
    """Every selector finds pods; a deployment's finds its own and no others."""
    for pod in manifests.pods():
        found = _selected(manifests, pod.owner.body["spec"]["selector"]["matchLabels"])
        if found != [pod]:
            yield f"{pod.owner}: its selector finds {[other.owner.name for other in found]}"
    for manifest in manifests:
        selector = _selector(manifest)
        if selector is not None and not _selected(manifests, selector):
            yield f"{manifest}: its selector finds no pod"


def pods_are_confined(manifests: Manifests) -> Iterator[str]:
    """Uid 1000, a read-only image, no capabilities, no cluster token, bounded resources."""
    for pod in manifests.pods():
        context = pod.spec.get("securityContext", {})
        if (context.get("runAsNonRoot"), context.get("runAsUser"), context.get("runAsGroup")) != (
            True,
            UID,
            UID,
        ):
            yield f"{pod.owner}: it must run as uid and gid {UID}, as the earlier mirror does"
        has_secrets = any("secret" in volume for volume in pod.volumes.values())
        if ("fsGroup" in context) != has_secrets:
            yield f"{pod.owner}: fsGroup is for secret volumes alone"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pod.owner}: it needs seccompProfile RuntimeDefault"
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.owner}: it gets a token of the cluster that it does not need"
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.owner}: services of the namespace become variables that look like settings"
        for container in pod.containers:
            yield from (f"{pod.owner}: {container['name']} {trouble}" for trouble in _loose_ends(container))


def images_have_one_tag(manifests: Manifests) -> Iterator[str]:
    """Every container has the mirror's image, all of one tag."""
    images = {container["image"] for pod in manifests.pods() for container in pod.containers}
    if len(images) != 1 or not all(image.startswith(f"{IMAGE}:") for image in images):
        yield f"the images are {sorted(images)}, not one tag of {IMAGE}"


SETTINGS_RULES: tuple[Rule, ...] = (
    secret_has_every_setting,
    secret_is_refused_for_its_placeholders_alone,
)
RULES: tuple[Rule, ...] = (
    names_and_selectors_match_cmsweb,
    volumes_and_mounts_agree,
    paths_lie_in_mounts,
    secrets_are_there,
    programs_run_a_part,
    ports_match,
    network_admits_cmswebs_peers_alone,
    network_lets_through_what_is_needed,
    probes_ask_for_routes,
    selectors_find_pods,
    pods_are_confined,
    images_have_one_tag,
)


def _refused(given: Mapping[str, str]) -> set[str]:
    """The settings for which the program refuses to start."""
    try:
        dqmsquare_cfg.load({"ENV_FILE": "", **given})
    except SettingsError as error:
        return {line.split()[0] for line in error.lines}
    return set()


def _filled(manifests: Manifests) -> Settings:
    """The settings of the secret with its placeholders filled in."""
    filled = {
        name: value.replace(_PLACEHOLDER, "filled-in-by-the-operator")
        for name, value in manifests.settings().items()
    }
    return dqmsquare_cfg.load({"ENV_FILE": "", **filled})


def _ports_of(role: str, settings: Settings) -> dict[str, int]:
    if role == "server":
        return {"http": settings.server_port, "metrics": settings.server_metrics_port}
    return {"metrics": settings.grabber_metrics_port(Cluster(role.removeprefix("grabber-")))}


def _files_of(pod: Pod) -> tuple[str, ...]:
    """The settings that name files which this pod reads."""
    common = ("SERVER_GRID_CERT_PATH", "SERVER_GRID_KEY_PATH", "CMSWEB_CA_PATH")
    return (*common, "CMSWEB_HMAC_PATH") if pod.role == "server" else common


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


def _mount_of(path: str, mounts: Mapping[str, Body]) -> Body | None:
    """The volume that a path lies in; None if it lies in the image."""
    around = [mount for mount in mounts if PurePosixPath(path).is_relative_to(mount)]
    return mounts[max(around, key=len)] if around else None


def _peer(peer: Body) -> tuple[str, Mapping[str, frozenset[str]]]:
    """A peer's namespace and the pod labels that it must have, with their accepted values."""
    namespace = peer.get("namespaceSelector", {}).get("matchLabels", {}).get(_NAMESPACE, "")
    pods = peer.get("podSelector", {})
    labels = {label: frozenset({value}) for label, value in pods.get("matchLabels", {}).items()}
    for one in pods.get("matchExpressions", ()):
        labels[one["key"]] = frozenset(one["values"]) if one["operator"] == "In" else frozenset()
    return namespace, labels


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
        yield "may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its own image"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"
    resources = container.get("resources", {})
    for bound in ("requests", "limits"):
        if not {"cpu", "memory"} <= resources.get(bound, {}).keys():
            yield f"has no {bound} of cpu and memory"
