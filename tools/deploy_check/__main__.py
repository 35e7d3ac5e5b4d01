"""`make deploy-check`: one line for each problem with the deployment files; exit status 1 if there is any."""

import sys
from collections.abc import Iterable
from pathlib import Path

from tools.deploy_check import alerts, apply_over, dashboard, linters, manifest_rules, manifests, source_rules
from tools.render_manifests import Target

_FOLDER = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run every check over this repository."""
    every = [manifests.read(_FOLDER, target) for target in Target]
    checks = {
        "manifests against the schemas": _distinct(manifests.schema_problems(one) for one in every),
        "manifests against program and clusters": [
            *source_rules.manifest_problems(_FOLDER),
            *_distinct(manifest_rules.problems(one) for one in every),
        ],
        "manifests over the earlier mirror": _distinct(apply_over.problems(one) for one in every),
        "Dockerfile": [
            *linters.dockerfile_problems(_FOLDER),
            *source_rules.dockerfile_problems((_FOLDER / "Dockerfile").read_text(), every[0]),
        ],
        "shell scripts": linters.script_problems(_FOLDER),
        "units of systemd": linters.systemd_problems(_FOLDER),
        "alerts": alerts.problems(_FOLDER),
        "dashboard": dashboard.problems(_FOLDER),
    }
    for name, problems in checks.items():
        sys.stdout.write(f"{name}: {'ok' if not problems else f'{len(problems)} problems'}\n")
        sys.stdout.write("".join(f"    {problem}\n" for problem in problems))
    if not linters.has_systemd_analyze():
        sys.stdout.write(
            "units of systemd: NOT CHECKED, systemd-analyze is missing (on Debian: apt-get install systemd)\n"
        )
    return 1 if any(checks.values()) else 0


def _distinct(problems: Iterable[list[str]]) -> list[str]:
    """Problems of all clusters, each once."""
    return list(dict.fromkeys(problem for some in problems for problem in some))


if __name__ == "__main__":
    sys.exit(main())
