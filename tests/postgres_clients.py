"""Client programs of the embedded PostgreSQL."""

import subprocess
from pathlib import Path

from tools.demo.postgres import EmbeddedPostgres, bin_folder

_PG_DUMP = bin_folder(None, Path()) / "pg_dump"


def dumped(postgres: EmbeddedPostgres, database: str, *options: str) -> str:
    """Dump a database with pg_dump."""
    return subprocess.run(
        [
            _PG_DUMP,
            f"--host={postgres.host}",
            f"--port={postgres.port}",
            f"--username={postgres.username}",
            "--no-password",
            *options,
            database,
        ],
        env={"PGPASSWORD": postgres.password},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
