"""The benchmarks' command lines: what each measures stands at the head of its module, and is its help."""

import argparse
import re
from pathlib import Path


class _AsWritten(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows the docstring as it is written, and each option's default."""


def parser(module: str, measures: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.<module>`, whose docstring is `measures`."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=measures,
        formatter_class=_AsWritten,
    )


def count(text: str) -> int:
    """How many: a whole number from 1 on."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def duration(text: str) -> float:
    """How long: a number above 0."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return float(text)


def documents(text: str) -> Path:
    """A file of documents that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return path
