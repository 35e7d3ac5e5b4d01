"""Commands of the mirror, run in this process: a start of Python would take half a second of imports."""

import os
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from unittest.mock import patch


def run(
    main: Callable[[list[str]], int | None], environment: Mapping[str, str], *arguments: str, stdin: str = ""
) -> tuple[int, str]:
    """Call a program's main function with some standard input; returns its exit status and output."""
    output = StringIO()
    with (
        patch.dict(os.environ, environment, clear=True),
        patch("sys.stdin", StringIO(stdin)),
        redirect_stdout(output),
        redirect_stderr(output),
    ):
        try:
            status = main([*arguments])
        except SystemExit as exited:
            status = int(exited.code or 0)
    return status or 0, output.getvalue()
