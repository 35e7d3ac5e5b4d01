"""`make deploy-check`: a line for each problem of what is deployed; exit status 1 where there is one."""

import sys
from pathlib import Path

from deploy_check import alerts, manifests, rules, tools, units

_FOLDER = Path(__file__).resolve().parent.parent


def main() -> int:
    """Runs every check over this repository."""
    found = manifests.read(_FOLDER)
    checks = {
        "manifests against the schemas": manifests.schema_problems(found),
        "manifests against the program": rules.problems(found),
        "Dockerfile": [
            *tools.dockerfile_problems(_FOLDER),
            *rules.dockerfile_problems((_FOLDER / "Dockerfile").read_text(), found),
        ],
        "shell scripts": tools.script_problems(_FOLDER),
        "units of systemd": units.problems(_FOLDER),
        "alerts": alerts.problems(_FOLDER),
    }
    for name, problems in checks.items():
        sys.stdout.write(f"{name}: {'well' if not problems else f'{len(problems)} problems'}\n")
        sys.stdout.write("".join(f"    {problem}\n" for problem in problems))
    if not units.can_be_checked():
        sys.stdout.write(
            "THERE IS NO SYSTEMD-ANALYZE: THE UNITS WERE NOT CHECKED. On Debian: apt-get install systemd\n"
        )
    return 1 if any(checks.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
