"""`make deploy-check` on the Kubernetes manifests: they pass, and each rule notices what breaks it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import dqmsquare_cfg
from tests.examples import core_of
from tools import render_manifests
from tools.deploy_check import apply_over, manifest_rules, manifests, source_rules
from tools.deploy_check.manifests import CLAIM, SECRET, Manifest, Manifests
from tools.render_manifests import CONFIG, Options, Target, render

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = "Secret dqmsecret"
SERVER = "Deployment dqm-square-mirror-server"
GRABBER = "Deployment dqm-square-mirror-grabber-production"
SERVICE = "Service dqm-square-k8"
POLICY = "NetworkPolicy dqm-square-mirror-server"
METRICS_POLICY = "NetworkPolicy dqm-square-mirror"

Change = Callable[[Any], None]


@cache
def read(target: Target) -> Manifests:
    """The rendered manifests of a cluster, which nobody changes."""
    return manifests.read(ROOT, target)


every_cluster = pytest.mark.parametrize("target", list(Target))


@pytest.mark.parametrize("target", core_of(Target, Target.PRODUCTION))
def test_the_manifests_match_kubernetes_schemas(target: Target) -> None:
    assert manifests.schema_problems(read(target)) == []


@every_cluster
def test_the_manifests_follow_each_rule(target: Target) -> None:
    rules = (*manifest_rules.SETTINGS_RULES, *manifest_rules.RULES)
    problems = {rule.__name__: list(rule(read(target))) for rule in rules}
    assert problems == {rule.__name__: [] for rule in rules}


@every_cluster
def test_the_manifests_can_be_applied_over_the_earlier_mirror(target: Target) -> None:
    assert apply_over.problems(read(target)) == []


def test_the_files_keep_the_markers_of_cmswebs_deploy_script() -> None:
    assert source_rules.manifest_problems(ROOT) == []


def test_the_secret_describes_each_setting() -> None:
    lines = (line.strip() for line in (ROOT / SECRET).read_text().splitlines())
    text = " ".join(line.removeprefix("# ") for line in lines)
    for setting in dqmsquare_cfg.SETTINGS:
        assert f"{setting.description[1:]} {setting.name}: " in text, setting.name


def test_the_storage_class_for_developer_clusters_matches_its_schema() -> None:
    [body] = yaml.safe_load_all((ROOT / manifests.STORAGE_CLASS).read_text())
    assert manifests.schema_problems([Manifest(manifests.STORAGE_CLASS, body)]) == []


def test_the_dockerfile_agrees_with_them() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert source_rules.dockerfile_problems(dockerfile, read(Target.TEST)) == []


@pytest.mark.parametrize(
    ("original", "changed", "sentence"),
    [
        ("USER 1000:1000", "USER 10001:10001", "not 1000:1000"),
        ("EXPOSE 8084", "EXPOSE 80", "does not expose 8084"),
        (
            "mv services/dqmsquare_k8_wrapper.sh . ",
            "mv services/dqmsquare_k8_wrapper.sh /opt ",
            "not in the working folder",
        ),
    ],
)
def test_a_dockerfile_that_disagrees_is_noticed(original: str, changed: str, sentence: str) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert original in dockerfile
    [problem] = source_rules.dockerfile_problems(dockerfile.replace(original, changed), read(Target.TEST))
    assert sentence in problem


def changed(name: str, change: Change, target: Target) -> Manifests:
    """The rendered manifests of a cluster with one object changed."""
    bodies = [(one.file, deepcopy(one.body)) for one in read(target)]
    [body] = [body for _, body in bodies if f"{body['kind']} {body['metadata']['name']}" == name]
    change(body)
    return Manifests(target, [Manifest(file, body) for file, body in bodies])


def pod(body: Any) -> Any:
    return body["spec"]["template"]["spec"]


def main(body: Any) -> Any:
    return pod(body)["containers"][0]


# Changes of one object. `test_a_rule_notices` has the problem that each makes.


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


def write_into_the_image(body: Any) -> None:
    body["stringData"]["TMP_DIR"] = "/opt/tmp"


def read_an_unmounted_key(body: Any) -> None:
    body["stringData"]["CMSWEB_HMAC_PATH"] = "/etc/secrets/hmac"


def read_another_secret(body: Any) -> None:
    main(body)["envFrom"][0]["secretRef"]["name"] = "another"


def run_the_other_cluster(body: Any) -> None:
    main(body)["command"] = ["./dqmsquare_k8_wrapper.sh", "grabber", "playback"]


def run_everything(body: Any) -> None:
    main(body)["command"] = ["./dqmsquare_k8_wrapper.sh", "server"]


def listen_elsewhere(body: Any) -> None:
    body["stringData"]["SERVER_PORT"] = "9000"


def lead_elsewhere(body: Any) -> None:
    body["spec"]["ports"][0]["port"] = 80


def need_another_postgres_port(body: Any) -> None:
    body["stringData"]["POSTGRES_PORT"] = "6600"


def probe_no_route(body: Any) -> None:
    main(body)["readinessProbe"]["httpGet"]["path"] = "/ready"


def probe_no_port(body: Any) -> None:
    main(body)["livenessProbe"]["httpGet"]["port"] = "web"


def select_more_narrowly(body: Any) -> None:
    body["spec"]["selector"]["component"] = "server"


def narrow_the_deployment(body: Any) -> None:
    body["spec"]["selector"]["matchLabels"]["component"] = "server"
    body["spec"]["template"]["metadata"]["labels"]["component"] = "server"


def rename_the_service(body: Any) -> None:
    body["metadata"]["name"] = "dqm-square"


def rename_the_container(body: Any) -> None:
    main(body)["name"] = "server"


def wear_the_servers_label(body: Any) -> None:
    body["spec"]["template"]["metadata"]["labels"]["app"] = "dqm-square-mirror-server"


def drop_the_environment(body: Any) -> None:
    del body["spec"]["template"]["metadata"]["labels"]["env"]


def let_everyone_in(body: Any) -> None:
    del body["spec"]["ingress"][0]["from"]


def let_a_namespace_in(body: Any) -> None:
    del body["spec"]["ingress"][0]["from"][0]["podSelector"]


def let_metrics_out(body: Any) -> None:
    peer = body["spec"]["ingress"][0]["from"][0]
    peer["namespaceSelector"]["matchLabels"] = {"kubernetes.io/metadata.name": "default"}


def run_as_root(body: Any) -> None:
    pod(body)["securityContext"]["runAsNonRoot"] = False


def run_as_another_user(body: Any) -> None:
    pod(body)["securityContext"]["runAsUser"] = 10001


def forget_fs_group(body: Any) -> None:
    del pod(body)["securityContext"]["fsGroup"]


def link_services(body: Any) -> None:
    del pod(body)["enableServiceLinks"]


def gain_rights(body: Any) -> None:
    del main(body)["securityContext"]["allowPrivilegeEscalation"]


def lose_its_tag(body: Any) -> None:
    main(body)["image"] = "registry.cern.ch/cmsweb/dqmsquare_mirror"


def keep_the_earlier_command(body: Any) -> None:
    del main(body)["command"]


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (SETTINGS, forget_setting, "the secret lacks the setting STUCK_AFTER_S"),
        (SETTINGS, misspell_setting, "the secret has STUK_AFTER_S, which is not a setting"),
        (SETTINGS, fill_badly, "rejects the secret's STUCK_AFTER_S"),
        (SERVER, forget_mount, "volume tmp is not mounted"),
        ("PersistentVolumeClaim dqm-square-mirror-claim", rename_claim, "there is no claim"),
        (SETTINGS, write_into_the_image, "TMP_DIR is /opt/tmp, which is not in a writable volume"),
        (SETTINGS, read_an_unmounted_key, "CMSWEB_HMAC_PATH is /etc/secrets/hmac, where nothing is mounted"),
        (SERVER, read_another_secret, "its settings come from ['another']"),
        (GRABBER, run_the_other_cluster, "it runs grabber-playback"),
        (SERVER, run_everything, "runs no part of the program"),
        (SETTINGS, listen_elsewhere, "by the settings {'http': 9000"),
        (SERVICE, lead_elsewhere, "port 80 leads to 8084"),
        (SETTINGS, need_another_postgres_port, "no network policy allows egress by port 6600"),
        (SERVER, probe_no_route, "asks for /ready, which is no route"),
        (GRABBER, probe_no_route, "asks for /ready, which is no route"),
        (SERVER, probe_no_port, "asks port web"),
        (SERVICE, select_more_narrowly, "CMSWEB's ingress needs dqm-square-k8"),
        (SERVICE, rename_the_service, "CMSWEB's ingress needs dqm-square-k8"),
        (SERVER, narrow_the_deployment, "not app: dqm-square-mirror-server alone"),
        (SERVER, drop_the_environment, "need the pod labels app and env"),
        (SERVER, rename_the_container, "must be called like the deployment"),
        (GRABBER, wear_the_servers_label, "its selector finds"),
        (POLICY, let_everyone_in, "opens the pods to the whole cluster"),
        (POLICY, let_a_namespace_in, "port 8084 is for"),
        (METRICS_POLICY, let_metrics_out, "metrics are for namespace monitoring alone"),
        (SERVER, run_as_root, "must run as uid and gid 1000"),
        (SERVER, run_as_another_user, "must run as uid and gid 1000"),
        (SERVER, forget_fs_group, "fsGroup is for secret volumes"),
        (SERVER, link_services, "variables that look like settings"),
        (SERVER, gain_rights, "may gain privileges"),
        (SERVER, lose_its_tag, "not one tag of"),
    ],
)
def test_a_rule_notices(name: str, change: Change, sentence: str) -> None:
    found = manifest_rules.problems(changed(name, change, Target.TEST))
    assert [problem for problem in found if sentence in problem]


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (SERVER, narrow_the_deployment, "spec.selector is immutable"),
        (SERVER, rename_the_container, "the earlier container dqm-square-mirror-server would stay"),
        (SERVER, keep_the_earlier_command, "would keep its earlier command"),
        (GRABBER, wear_the_servers_label, "selects the pods of dqm-square-mirror-grabber-production"),
    ],
)
def test_an_apply_over_the_earlier_mirror_that_fails_is_noticed(
    name: str, change: Change, sentence: str
) -> None:
    found = apply_over.problems(changed(name, change, Target.PRODUCTION))
    assert [problem for problem in found if sentence in problem]


def test_a_deployment_of_the_earlier_mirror_that_would_go_on_is_noticed() -> None:
    others = [one for one in read(Target.TEST) if f"{one.kind} {one.name}" != SERVER]
    assert "Deployment dqm-square-mirror-server of the earlier mirror would stay" in apply_over.problems(
        Manifests(Target.TEST, others)
    )


@pytest.mark.parametrize(
    ("file", "original", "changed", "sentence"),
    [
        (CONFIG, "dqmsquare_mirror #imagetag", "dqmsquare_mirror:v1", "is not registry.cern.ch"),
        (CONFIG, "env: k8s #k8s#", "env: testbed", "no pod has a label env"),
        (CONFIG, "kind: Service\n", "kind: StorageClass\n", "a StorageClass does not belong here"),
        (
            CLAIM,
            "kind: PersistentVolumeClaim",
            "kind: StorageClass",
            "the role edit may not make a StorageClass",
        ),
        (CLAIM, "meyrin-cephfs", "my-class", "storage class my-class is none of"),
        (CLAIM, "ReadWriteMany", "ReadWriteOnce", "must be ReadWriteMany"),
    ],
)
def test_a_file_that_cmsweb_could_not_deploy_is_noticed(
    tmp_path: Path, file: str, original: str, changed: str, sentence: str
) -> None:
    for name in (CONFIG, CLAIM):
        shutil.copy(ROOT / name, tmp_path / name)
    text = (ROOT / file).read_text()
    assert original in text
    (tmp_path / file).write_text(text.replace(original, changed))
    assert [problem for problem in source_rules.manifest_problems(tmp_path) if sentence in problem]


def test_the_schemas_notice_a_misspelt_field() -> None:
    def misspell(body: Any) -> None:
        body["spec"]["replica"] = 2

    [problem] = manifests.schema_problems(changed(SERVER, misspell, Target.TEST))
    assert problem.startswith(f"{CONFIG}: {SERVER}: ")


def rendered(**options: Any) -> list[Any]:
    return list(yaml.safe_load_all(render(Options(**{"postgres_port": 5432, **options}))))


def test_it_renders_one_tag_and_the_environment_of_the_cluster() -> None:
    bodies = rendered(target=Target.PREPRODUCTION, tag="v9.9.9")
    deployments = [body for body in bodies if body["kind"] == "Deployment"]
    assert {main(body)["image"] for body in deployments} == {
        "registry.cern.ch/cmsweb/dqmsquare_mirror:v9.9.9"
    }
    assert {body["spec"]["template"]["metadata"]["labels"]["env"] for body in deployments} == {"k8s-preprod"}


def test_it_renders_what_cmswebs_deploy_script_makes_of_the_file() -> None:
    """The script's replacements, as docs/operator.md describes them."""
    text = (ROOT / CONFIG).read_text().replace(" #imagetag", ":v1-stable").replace("k8s #k8s#", "k8s-prod")
    theirs = list(yaml.safe_load_all(text))
    ours = rendered(target=Target.PRODUCTION, tag="v1-stable")
    assert ours[: len(theirs)] == theirs
    assert {body["kind"] for body in ours[len(theirs) :]} == {"NetworkPolicy"}


def test_it_opens_the_port_of_postgresql_that_it_is_given() -> None:
    bodies = rendered(target=Target.TEST, tag="v1", postgres_port=6611)
    [policy] = [body for body in bodies if "egress" in body["spec"]]
    assert [rule["ports"][-1]["port"] for rule in policy["spec"]["egress"]] == [53, 443, 6611]


def test_it_opens_ports_of_receivers_of_notifications_to_grabbers_only_if_asked() -> None:
    def ports(**options: Any) -> dict[str, list[Any]]:
        return {
            body["spec"]["podSelector"]["matchLabels"]["app"]: body["spec"]["egress"][0]["ports"]
            for body in rendered(target=Target.TEST, tag="v1.0.0", **options)
            if body["kind"] == "NetworkPolicy" and "notifications" in body["metadata"]["name"]
        }

    opened = [{"port": 587}, {"port": 8065}]
    grabbers = ("dqm-square-mirror-grabber-production", "dqm-square-mirror-grabber-playback")
    assert ports() == {}
    assert ports(notify_ports=(587, 8065)) == dict.fromkeys(grabbers, opened)
    with pytest.raises(ValueError, match="NOTIFY_PORTS"):
        ports(notify_ports=(0,))


def test_it_needs_no_claim_unless_it_is_given_one() -> None:
    without = rendered(target=Target.TEST, tag="v1")
    assert "persistentVolumeClaim" not in yaml.safe_dump(without)
    claimed = rendered(target=Target.TEST, tag="v1", log_claim="my-claim")
    volumes = [pod(body)["volumes"] for body in claimed if body["kind"] == "Deployment"]
    assert all(
        {"claimName": "my-claim"} in [one.get("persistentVolumeClaim") for one in of] for of in volumes
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--cluster", "production", "--tag", "v1.0.0"], "takes tags with 'stable' in them only"),
        (["--cluster", "test4", "--tag", "v1 beta"], "'v1 beta', which is no image tag"),
    ],
)
def test_it_refuses_a_tag_that_cmsweb_would_refuse(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render_manifests.main([*words, "--postgres-port", "5432"]) == 2
    assert sentence in capsys.readouterr().err


def test_it_requires_the_port_of_postgresql(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        render_manifests.main(["--cluster", "test4"])
    assert "required: --postgres-port" in capsys.readouterr().err


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A working folder with the wrapper and, in place of the program, one that prints its arguments."""
    shutil.copy(ROOT / "services" / "dqmsquare_k8_wrapper.sh", tmp_path)
    (tmp_path / "dqmsquare_mirror.py").write_text("import sys; print(*sys.argv[1:])\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["server"], "all"),
        (["server-only"], "server"),
        (["grabber", "production"], "grabber production"),
        (["db", "adopt", "--dry-run"], "db adopt --dry-run"),
    ],
)
def test_the_wrapper_runs_the_part_that_its_arguments_name(
    container: Path, words: list[str], part: str
) -> None:
    done = subprocess.run(
        ["./dqmsquare_k8_wrapper.sh", *words],
        cwd=container,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == part
