"""`make deploy-check`: a line for each problem of what is deployed; exit status 1 where there is one."""

import sys
from pathlib import Path

from tools.deploy_check import alerts, linters, manifest_rules, manifests, systemd_units

_FOLDER = Path(__file__).resolve().parents[2]


def main() -> int:
    """Runs every check over this repository."""
    found = manifests.read(_FOLDER)
    checks = {
        "manifests against the schemas": manifests.schema_problems(found),
        "manifests against the program": manifest_rules.problems(found),
        "Dockerfile": [
            *linters.dockerfile_problems(_FOLDER),
            *manifest_rules.dockerfile_problems((_FOLDER / "Dockerfile").read_text(), found),
        ],
        "shell scripts": linters.script_problems(_FOLDER),
        "units of systemd": systemd_units.problems(_FOLDER),
        "alerts": alerts.problems(_FOLDER),
    }
    for name, problems in checks.items():
        sys.stdout.write(f"{name}: {'well' if not problems else f'{len(problems)} problems'}\n")
        sys.stdout.write("".join(f"    {problem}\n" for problem in problems))
    if not systemd_units.can_be_checked():
        sys.stdout.write(
            "THERE IS NO SYSTEMD-ANALYZE: THE UNITS WERE NOT CHECKED. On Debian: apt-get install systemd\n"
        )
    return 1 if any(checks.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
