"""What `make deploy-check` asks of the manifests: they hold it, and each rule notices what breaks it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.deploy_check import manifest_rules, manifests
from tools.deploy_check.manifests import FILES, Manifests

ROOT = Path(__file__).resolve().parent.parent
CONFIG, SECRET, CLAIM = "k8_config_testbed.yaml", "k8_secret.yaml", "k8_claim_testbed.yaml"
SETTINGS = "Secret dqmsecret"
SERVER = "Deployment dqm-square-mirror-server"
GRABBER = "Deployment dqm-square-mirror-grabber-production"
SERVICE = "Service dqm-square-k8"

Change = Callable[[Any], None]


def test_the_manifests_hold_kubernetes_schemas() -> None:
    assert manifests.schema_problems(manifests.read(ROOT)) == []


@pytest.mark.parametrize(
    "rule", [*manifest_rules.SETTINGS_RULES, *manifest_rules.RULES], ids=lambda rule: rule.__name__
)
def test_the_manifests_hold_a_rule(rule: manifest_rules.Rule) -> None:
    assert list(rule(manifests.read(ROOT))) == []


def test_the_dockerfile_agrees_with_them() -> None:
    assert manifest_rules.dockerfile_problems((ROOT / "Dockerfile").read_text(), manifests.read(ROOT)) == []


def changed(folder: Path, file: str, name: str, change: Change) -> Manifests:
    """The manifests with one object changed."""
    for other in FILES:
        bodies = list(yaml.safe_load_all((ROOT / other).read_text()))
        for body in bodies:
            if other == file and f"{body['kind']} {body['metadata']['name']}" == name:
                change(body)
        (folder / other).write_text(yaml.safe_dump_all(bodies))
    return manifests.read(folder)


def pod(body: Any) -> Any:
    return body["spec"]["template"]["spec"]


def main(body: Any) -> Any:
    return pod(body)["containers"][0]


def forget_setting(body: Any) -> None:
    del body["stringData"]["STUCK_AFTER_S"]


def misspell_setting(body: Any) -> None:
    body["stringData"]["STUK_AFTER_S"] = "900"


def fill_badly(body: Any) -> None:
    body["stringData"]["STUCK_AFTER_S"] = "soon"


def forget_mount(body: Any) -> None:
    main(body)["volumeMounts"] = [mount for mount in main(body)["volumeMounts"] if mount["name"] != "tmp"]


def rename_claim(body: Any) -> None:
    body["metadata"]["name"] = "another-claim"


def log_into_the_image(body: Any) -> None:
    body["stringData"]["TMP_DIR"] = "/opt/tmp"


def read_another_secret(body: Any) -> None:
    main(body)["envFrom"][0]["secretRef"]["name"] = "another"


def run_the_other_cluster(body: Any) -> None:
    main(body)["args"] = ["grabber", "playback"]


def listen_elsewhere(body: Any) -> None:
    body["stringData"]["SERVER_PORT"] = "9000"


def lead_elsewhere(body: Any) -> None:
    body["spec"]["ports"][0]["port"] = 80


def keep_postgres_out(body: Any) -> None:
    body["stringData"]["POSTGRES_PORT"] = "6600"


def probe_no_route(body: Any) -> None:
    main(body)["readinessProbe"]["httpGet"]["path"] = "/ready"


def probe_no_port(body: Any) -> None:
    main(body)["livenessProbe"]["httpGet"]["port"] = "web"


def select_nobody(body: Any) -> None:
    body["spec"]["selector"]["app.kubernetes.io/component"] = "web"


def run_as_root(body: Any) -> None:
    pod(body)["securityContext"]["runAsNonRoot"] = False


def link_services(body: Any) -> None:
    del pod(body)["enableServiceLinks"]


def gain_rights(body: Any) -> None:
    del main(body)["securityContext"]["allowPrivilegeEscalation"]


def be_of_another_version(body: Any) -> None:
    main(body)["image"] = "registry.cern.ch/cmsweb/dqmsquare_mirror:latest"


@pytest.mark.parametrize(
    ("file", "name", "change", "sentence"),
    [
        (SECRET, SETTINGS, forget_setting, "the secret has no STUCK_AFTER_S"),
        (SECRET, SETTINGS, misspell_setting, "the secret has STUK_AFTER_S, which is not a setting"),
        (SECRET, SETTINGS, fill_badly, "refuses the secret's STUCK_AFTER_S"),
        (CONFIG, SERVER, forget_mount, "volume tmp is not mounted"),
        (CLAIM, "PersistentVolumeClaim dqm-square-mirror-claim", rename_claim, "there is no claim"),
        (SECRET, SETTINGS, log_into_the_image, "TMP_DIR is /opt/tmp, where nothing can be written"),
        (CONFIG, SERVER, read_another_secret, "its settings come from ['another']"),
        (CONFIG, GRABBER, run_the_other_cluster, "it runs grabber-playback"),
        (SECRET, SETTINGS, listen_elsewhere, "by the settings {'http': 9000"),
        (CONFIG, SERVICE, lead_elsewhere, "port 80 is not that of http"),
        (SECRET, SETTINGS, keep_postgres_out, "no network policy lets egress by port 6600"),
        (CONFIG, SERVER, probe_no_route, "asks for /ready, which is no route"),
        (CONFIG, GRABBER, probe_no_route, "asks for /ready, which is no route"),
        (CONFIG, SERVER, probe_no_port, "asks port web"),
        (CONFIG, SERVICE, select_nobody, "its selector finds no pod"),
        (CONFIG, SERVER, run_as_root, "it may run as root"),
        (CONFIG, SERVER, link_services, "variables that look like settings"),
        (CONFIG, SERVER, gain_rights, "may gain rights"),
        (CONFIG, SERVER, be_of_another_version, "dqmsquare_mirror:latest"),
    ],
)
def test_a_rule_notices(tmp_path: Path, file: str, name: str, change: Change, sentence: str) -> None:
    found = manifest_rules.problems(_only_if_changed(tmp_path, file, name, change))
    assert [problem for problem in found if sentence in problem]


def _only_if_changed(folder: Path, file: str, name: str, change: Change) -> Manifests:
    found = changed(folder, file, name, change)
    assert [one.body for one in found] != [one.body for one in manifests.read(ROOT)]
    return found


def test_the_schemas_notice_a_misspelt_field(tmp_path: Path) -> None:
    def misspell(body: Any) -> None:
        body["spec"]["replica"] = 2

    [problem] = manifests.schema_problems(changed(tmp_path, CONFIG, SERVER, misspell))
    assert problem.startswith(f"{CONFIG}: {SERVER}: ")
