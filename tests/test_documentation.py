"""README, CONTRIBUTING and docs/: a test runs each of their commands, or checks the names in it.

A new command is added to one of the lists here: the test that runs it, or that it needs another program.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from dqmsquare_cfg import Cluster, Settings
from simulator.documents import job_document
from simulator.simulator import Simulator
from tests import fork_server
from tests.grabber_runner import FILTER_UNIT, mirror_once, mirrored_tables
from tests.legacy_mirror import LegacyMirror, job, run_adopt
from tests.waiting import TIMEOUT_S
from tools.demo.postgres import EmbeddedPostgres, bin_folder
from tools.deploy_check import manifests
from tools.render_manifests import Target

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# The owner of a database that is restored, who is no superuser.
RESTORER = "restorer"

# Commands that other tests run, and the files of those tests.
TESTED = {
    r"git clone <this repository> \S+ && cd \S+": "test_demo.py",
    r"make demo": "test_demo.py",
    r"make run": "test_run.py",
    r"make (help|bench|lock|install)": "test_install.py",
    r"make (test|test-all|lint)": "conftest.py",
    r"make deploy-check": "test_deploy_manifests.py",
    r"make manifests .+": "test_documentation.py",
    r"cp \.env_sample \.env": "test_settings.py",
    r"cp k8_secret\.yaml my_secret\.yaml": "test_deploy_manifests.py",
    r"python grabber\.py production": "test_grabber_process.py",
    r"python server\.py": "test_server_process.py",
    r"\./dqmsquare_deploy\.sh build": "test_executable.py",
    r"\./dqmsquare_deploy\.sh (install|status|uninstall)": "test_deploy_systemd.py",
    r"cd /opt/dqmsquare_mirror|\./dqmsquare_mirror (--version|db status|healthcheck)": "test_executable.py",
    r"(pg_dump|pg_restore|psql) .*": "test_documentation.py",
    r"python db\.py adopt --(dry-run|drop|undo)": "test_legacy_import_lifecycle.py",
    r"(url=|jar=|token=|curl -s |rm \"\$jar\").*": "test_control_room_docs.py",
}
# Commands that a test of this file runs.
RUN_HERE = (
    r"python db\.py (status|migrate|adopt|prune)",
    r"python grabber\.py playback --once",
    r"python server\.py --version",
)
# Commands of other programs, which need a cluster, a registry or a running systemd.
ELSEWHERE = r"(kubectl|docker|systemctl|journalctl|openssl) .+|git tag .+|make image"


def commands() -> Iterator[tuple[str, str]]:
    """Each command of each document, without its comment."""
    for document in DOCUMENTS:
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                if command := re.sub(r"(^|\s\s+)#.*$", "", line).strip():
                    yield document.name, command


def fits(command: str, *patterns: str) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in patterns)


def test_each_command_is_tested() -> None:
    untested = [
        f"{document}: {command}"
        for document, command in commands()
        if not fits(command, *TESTED, *RUN_HERE, ELSEWHERE)
    ]
    assert not untested, "\n".join(untested)


def test_the_listed_tests_exist() -> None:
    assert all((ROOT / "tests" / name).is_file() for name in TESTED.values())


@pytest.mark.usefixtures("simulator")
def test_the_commands_of_the_readme_run(simulated_environment: dict[str, str]) -> None:
    for words in (
        "db.py status",
        "db.py migrate",
        "db.py adopt",
        "db.py prune",
        "grabber.py playback --once",
        "server.py --version",
    ):
        assert f"python {words}" in (ROOT / "README.md").read_text()
        file, *arguments = words.split()
        running = fork_server.start(file.removesuffix(".py"), arguments, simulated_environment)
        output, _ = running.communicate(TIMEOUT_S)
        assert running.wait() == 0, output


def kubectl_commands() -> list[str]:
    return [command for _, command in commands() if command.startswith("kubectl ")]


def test_kubectl_commands_name_existing_objects() -> None:
    known = {f"{one.kind.lower()}/{one.name}" for one in manifests.read(ROOT, Target.TEST)}
    named = set(re.findall(r"\b(?:deployment|secret|service)/\S+", "\n".join(kubectl_commands())))
    assert named
    assert named <= known


def test_kubectl_commands_apply_existing_files_in_one_namespace() -> None:
    files = {name for line in kubectl_commands() for name in re.findall(r"-f (\S+\.yaml)", line)}
    rendered = {f"build/manifests-{target}.yaml" for target in Target}
    copies = {"my_secret.yaml", "earlier-secret.yaml", "earlier-deployment.yaml"}
    assert all((ROOT / name).is_file() for name in files - copies - rendered)
    assert {name for line in kubectl_commands() for name in re.findall(r"-n (\S+)", line)} == {"dqm"}


def test_copies_replace_objects_that_have_changed_since() -> None:
    lines = "\n".join(kubectl_commands())
    filters = {name: words for words, name in re.findall(r" \| (.+) > (\S+\.yaml)", lines)}
    replaced = re.findall(r"-f (\S+)", "\n".join(re.findall(r"^kubectl replace .+", lines, re.MULTILINE)))
    assert "earlier-deployment.yaml" in replaced
    earlier = manifests.read(ROOT, Target.TEST).of("Deployment")[0].body
    saved = yaml.safe_dump({**earlier, "metadata": {**earlier["metadata"], "resourceVersion": "12"}})
    for name in replaced:
        copy = subprocess.run(
            shlex.split(filters[name]), input=saved, capture_output=True, text=True, check=True
        )
        assert yaml.safe_load(copy.stdout) == earlier


def pods_of_the_guide() -> dict[str, Mapping[str, Any]]:
    """The pods that the guide runs by themselves, by name."""
    pods: dict[str, Mapping[str, Any]] = {}
    for line in kubectl_commands():
        for name, overrides in re.findall(r" run (\S+) .*--overrides='(.+)'", line):
            # kubectl fills in the kind and the name, but not the version.
            pods[name] = {"kind": "Pod", "metadata": {"name": name}, **yaml.safe_load(overrides)}
    return pods


def test_the_pods_of_the_guide_match_kubernetes_schemas() -> None:
    pods = pods_of_the_guide()
    found = [manifests.Manifest("operator.md", pod) for pod in pods.values()]
    assert manifests.schema_problems(found) == []
    [claim] = manifests.read(ROOT, Target.TEST).of("PersistentVolumeClaim")
    [volume] = pods["open-logs"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim.name


def test_the_pod_that_undoes_an_import_has_the_settings_and_may_reach_postgresql() -> None:
    [container] = pods_of_the_guide()["adopt-undo"]["spec"]["containers"]
    assert container["envFrom"] == manifests.read(ROOT, Target.TEST).pods()[0].main["envFrom"]
    [policy] = [
        one for one in manifests.read(ROOT, Target.TEST).of("NetworkPolicy") if "egress" in one.body["spec"]
    ]
    [(name, value)] = policy.body["spec"]["podSelector"]["matchLabels"].items()
    [line] = [line for line in kubectl_commands() if " run adopt-undo " in line]
    assert f" --labels={name}={value} " in line


@pytest.mark.parametrize(
    "command", sorted({line for _, line in commands() if line.startswith("make manifests")})
)
def test_the_guides_commands_render_manifests(command: str) -> None:
    subprocess.run(["make", "--old-file=install-dev", *command.split()[1:]], cwd=ROOT, check=True)


def test_image_tags_have_the_current_version() -> None:
    tags = {
        name for _, line in commands() for name in re.findall(r"(?:dqmsquare_mirror:|TAG=)([\w.-]+)", line)
    }
    version = f"v{_version()}"
    assert tags == {version, f"{version}-stable"}


def _version() -> str:
    words = [sys.executable, "-c", "from runtime import version; print(version.NUMBER)"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_every_section_that_is_cited_exists() -> None:
    """A section is a heading, or a name in a table."""
    cited = {
        citation
        for path in [*_modules(), ROOT / "docs" / "alerts.yaml"]
        for citation in re.findall(r'docs/([\w-]+\.md), "([^"]+)"', " ".join(path.read_text().split()))
    }
    assert cited
    texts = {name: (ROOT / "docs" / name).read_text() for name, _ in cited}
    missing = [
        f"{name}, {section}"
        for name, section in cited
        if not re.search(
            rf"^(#+ {re.escape(section)}$|\|.*`{re.escape(section)}`)", texts[name], re.MULTILINE
        )
    ]
    assert missing == []


def _modules() -> Iterator[Path]:
    """Every module of the project."""
    for path in [*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")]:
        if path.relative_to(ROOT).parts[0] not in {"node_modules", "build", "dist"}:
            yield path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_between_documents_resolve(document: Path) -> None:
    for target, anchor in re.findall(r"\[[^\]]*\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text()):
        linked = document.parent / target if target else document
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), f"{target}#{anchor}"


def _anchors(document: Path) -> set[str]:
    """The anchors that GitHub and GitLab make of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Words in the operator's table of symptoms that Kubernetes, PostgreSQL, OpenSSL and others print.
FOREIGN = {
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "Pending",
    "kubectl apply -f k8_config_testbed.yaml",
    "the Deployment",
    "spec.selector",
    "field is immutable",
    "pg_dump",
    "query would be affected by row-level security policy",
    "could not extend file",
    "No space left on device",
    "read-only transaction",
    "cannot drop",
    "because other objects depend on them",
    "certificate verify failed",
}


def test_the_symptoms_of_the_operators_guide_are_words_of_the_programs() -> None:
    section = (ROOT / "docs" / "operator.md").read_text().partition("\n## Troubleshooting\n")[2]
    symptoms = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)[1:]
    spans = [span for symptom in symptoms for span in re.findall(r"`([^`]+)`", symptom)]
    parts = {part.strip(" ,") for span in spans for part in re.split(r"…|\{.*\}", span)} - {""}
    assert len(parts) > len(FOREIGN)
    printed = "\n".join([*_strings_of_the_programs(), (ROOT / "docs" / "alerts.yaml").read_text()])
    assert {part for part in parts - FOREIGN if part not in printed} == set()
    assert parts >= FOREIGN


def test_the_operators_guide_explains_each_event_of_a_warning_or_an_error() -> None:
    section = (ROOT / "docs" / "operator.md").read_text().partition("\n## Logs\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    explained = [event for row in rows for event in re.findall(r"`(\w+)`", row)]
    # Logged with a level that depends on the reason.
    events = {event for tree in _programs() for event in _events(tree)} | {"lock_waiting"}
    assert sorted(explained) == sorted(events)


def _events(tree: ast.Module) -> Iterator[str]:
    """The events that a module logs as warnings or errors."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="warning" | "error" | "exception" | "critical"),
                args=[ast.Constant(str(text)), *_],
            ):
                yield from re.findall(r"^[a-z]+(?:_[a-z]+)+(?= |$)", text)


@cache
def _strings_of_the_programs() -> frozenset[str]:
    """The strings in the source of the image's programs; those of an f-string are its constant parts."""
    nodes = [node for tree in _programs() for node in ast.walk(tree)]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return frozenset(
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    )


@cache
def _programs() -> Sequence[ast.Module]:
    """The modules of the image's programs."""
    others = {"tests", "benchmarks", "simulator", "tools"}
    paths = [path for path in _modules() if path.relative_to(ROOT).parts[0] not in others]
    return [ast.parse(path.read_text()) for path in paths]


# Words in italics that are those of another program, or an example.
OTHER_ITALICS = {
    "Dashboards → New → Import",
    "Scrape interval",
    "csc switched off on dqmfu-c2b01-..",
}


@pytest.mark.parametrize("name", ["shifter", "expert", "control-room", "operator"])
def test_words_of_pages_in_a_guide_are_on_the_pages(name: str, words_of_pages: str) -> None:
    guide = re.sub(r"```.*?```|`[^`]*`", "", (ROOT / "docs" / f"{name}.md").read_text(), flags=re.DOTALL)
    italics = re.findall(r"(?<![\w*])\*([^\s*|][^*|]*)\*(?![\w*])", guide)
    named = {" ".join(text.split()) for text in italics} - OTHER_ITALICS
    assert named
    # Numbers, and what is left out, stand for values.
    parts = {text: [part.strip(" ,.") for part in re.split(r"…|\d+", text.lower())] for text in named}
    assert {text for text in named if not all(part in words_of_pages for part in parts[text])} == set()


@pytest.fixture(scope="module")
def words_of_pages() -> str:
    """The words of templates, scripts and programs in lower case, as styles capitalize some."""
    templates = [path.read_text() for path in (ROOT / "templates").rglob("*.html")]
    shown = [re.sub(r"\{[{%#].*?[}%#]\}|<[^>]*>", " ", text, flags=re.DOTALL) for text in templates]
    scripts = [path.read_text() for path in (ROOT / "static" / "js").glob("*.js")]
    return " ".join("\n".join([*shown, *templates, *scripts, *_strings_of_the_programs()]).split()).lower()


def test_a_backup_restores_what_was_mirrored(
    simulator: Simulator,
    simulated_settings: Settings,
    postgres: EmbeddedPostgres,
    databases: Mapping[Cluster, str],
    tmp_path: Path,
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document())
    assert mirror_once(simulated_settings)
    before = mirrored_tables(simulated_settings)
    assert before["jobs"]
    name = databases[Cluster.PRODUCTION]
    dump, *restore = (
        line.replace("postgres_production", name)
        for _, line in commands()
        if re.match(r"(pg_dump|psql|pg_restore) (?!.*legacy).*production", line)
    )
    _run_client(dump, postgres, tmp_path)
    with closing(postgres.connect(name)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE of_a_newer_release (id integer)")
        cursor.execute(f"CREATE ROLE {RESTORER} LOGIN PASSWORD '{postgres.password}'")
        cursor.execute(f"ALTER DATABASE {name} OWNER TO {RESTORER}")
    for command in restore:
        _run_client(command, postgres, tmp_path, username=RESTORER)
    with closing(postgres.connect(name)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('of_a_newer_release')")
        assert cursor.fetchone() == (None,)
    assert mirrored_tables(simulated_settings) == before
    assert mirror_once(simulated_settings)
    assert mirrored_tables(simulated_settings) == before


def test_a_backup_excludes_the_legacy_tables(
    postgres: EmbeddedPostgres, environment: dict[str, str], databases: Mapping[Cluster, str], tmp_path: Path
) -> None:
    earlier = LegacyMirror(postgres, databases[Cluster.PRODUCTION])
    earlier.write("runs", job())
    assert run_adopt(environment)[0] == 0
    [dump] = (line for _, line in commands() if "--exclude-table" in line)
    _run_client(dump.replace("postgres_production", earlier.name), postgres, tmp_path)
    _run_client("pg_restore --file=restored.sql production.dump", postgres, tmp_path)
    restored = (tmp_path / "restored.sql").read_text()
    assert "CREATE TABLE public.jobs" in restored
    assert "legacy_" not in restored


def _run_client(
    command: str, postgres: EmbeddedPostgres, folder: Path, username: str = EmbeddedPostgres.username
) -> None:
    """Run a client program of the embedded PostgreSQL."""
    environment = {
        "PATH": f"{bin_folder(None, folder)}:{os.environ['PATH']}",
        "PGHOST": postgres.host,
        "PGPORT": str(postgres.port),
        "PGUSER": username,
        "PGPASSWORD": postgres.password,
    }
    subprocess.run(shlex.split(command), cwd=folder, env=environment, check=True)
