"""Number of random examples: `make test` tries the same few each time, `make test-all` many new ones."""

from hypothesis import settings

ALL_EXAMPLES = "new-examples"
_SHARE = 4


def examples(number: int) -> int:
    """`number` in `make test-all`, else a quarter."""
    return number if settings.get_current_profile_name() == ALL_EXAMPLES else number // _SHARE
