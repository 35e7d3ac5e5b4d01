"""Log files of the programs under test."""

from dqmsquare_cfg import Settings


def read_log(settings: Settings, role: str) -> str:
    """Content of a role's log file; the first line creates it."""
    assert settings.log_dir is not None
    path = settings.log_dir / f"{role}.log"
    return path.read_text() if path.exists() else ""


def read_all_logs(settings: Settings) -> str:
    """Content of all files in the log directory."""
    assert settings.log_dir is not None
    return "".join(path.read_text() for path in settings.log_dir.iterdir())
