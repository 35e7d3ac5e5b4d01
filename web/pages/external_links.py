"""Links to other sites: a run in the systems of `RUN_LINKS`, release notes and pull requests of CMSSW."""

import re
from collections.abc import Callable, Sequence

from flask import Flask

from config.parsers import RUN_PLACEHOLDER
from dqmsquare_cfg import Settings

# A release as CMS tags it: `14_0_9`, `14_1_0_pre3`, `13_0_5_patch1`, `9_0_0_pre2_ROOT6`. Pull requests and
# names of local builds may follow.
_RELEASE = re.compile(
    r"[0-9]+_[0-9]+_[0-9]+(?:_(?:pre|cand|[A-Za-z]*patch)[0-9]+)?"
    r"(?:_(?:MULTIARCHS|ROOT[0-9]+|SLHC[0-9]+|UL))?(?![A-Za-z0-9])"
)
# Integration builds are no releases.
_INTEGRATION_BUILD = re.compile(r"_X(?:_|$)")
# Release or integration build with its date, which precede the numbers of pull requests.
_BASE = re.compile(r"[0-9]+_[0-9]+_(?:X(?:_[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{4})?|[0-9]+)")
# The project's pull requests have had five digits since 2015.
_PULL_REQUEST = re.compile(r"[0-9]{5,6}")
_SEPARATORS = re.compile(r"[_-]")
_PULL_REQUEST_URL = "https://github.com/cms-sw/cmssw/pull/{}"
_OMS_RUN_URL = "https://cmsoms.cern.ch/cms/runs/report?cms_run={}&cms_run_sequence=GLOBAL-RUN"
_RELEASE_NOTES_URL = "https://github.com/cms-sw/cmssw/releases/tag/CMSSW_{}"


def init_app(app: Flask, settings: Settings) -> None:
    """Give the links to the templates."""
    app.jinja_env.globals["run_links"] = _run_links(settings.run_links)
    app.jinja_env.globals["experts_url"] = settings.experts_url
    app.jinja_env.filters["oms_url"] = oms_url


def oms_url(run: int | str) -> str:
    """The page of a run in OMS, the experiment's run database; `run` is a number or e.g. `run358788`."""
    return _OMS_RUN_URL.format(str(run).removeprefix("run"))


def release_notes_url(version: str) -> str | None:
    """The release notes of a CMSSW version's release; `None` for an integration build, which has none."""
    match = None if _INTEGRATION_BUILD.search(version) else _RELEASE.match(version)
    return None if match is None else _RELEASE_NOTES_URL.format(match[0])


def pull_requests(version: str) -> tuple[int, ...]:
    """The pull requests that a CMSSW version was built with, as its name has them: `12_4_8_39145_39162`."""
    base = _BASE.match(version)
    parts = _SEPARATORS.split(version[base.end() :] if base else version)
    return tuple(dict.fromkeys(int(part) for part in parts if _PULL_REQUEST.fullmatch(part)))


def pull_request_url(number: int) -> str:
    """The page of a pull request of CMSSW."""
    return _PULL_REQUEST_URL.format(number)


def _run_links(templates: Sequence[tuple[str, str]]) -> Callable[[int], list[tuple[str, str]]]:
    """A function that returns names and URLs for a run."""

    def links(run: int) -> list[tuple[str, str]]:
        return [(name, template.replace(RUN_PLACEHOLDER, str(run))) for name, template in templates]

    return links
