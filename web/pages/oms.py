"""OMS, the experiment's own pages of its runs."""

_RUN = "https://cmsoms.cern.ch/cms/runs/report?cms_run={}&cms_run_sequence=GLOBAL-RUN"


def run_report(run: int | str) -> str:
    """The address of a run's page, by its number or as `run358788`."""
    return _RUN.format(str(run).removeprefix("run"))
