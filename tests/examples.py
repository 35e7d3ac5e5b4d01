"""Number of examples: `make test` tries the same few each time, `make test-all` all and many new ones."""

from collections.abc import Iterable
from functools import partial
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings

ALL_EXAMPLES = "new-examples"
_SHARE = 10

T = TypeVar("T")

# A parameter, or several, that only `make test-all` takes.
long = partial(pytest.param, marks=pytest.mark.long)


def examples(number: int) -> int:
    """`number` in `make test-all`, else a tenth."""
    return number if settings.get_current_profile_name() == ALL_EXAMPLES else number // _SHARE


def core_of(values: Iterable[T], *core: T) -> list[T | ParameterSet]:
    """Parameters of a test: `make test` takes those of `core`, `make test-all` all values."""
    every = list(values)
    assert core, "make test needs a value"
    assert all(value in every for value in core), f"{core} are not all among the values"
    return [value if value in core else long(value) for value in every]
