"""Times in the formats of scripts."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


def iso(at: datetime) -> str:
    """A time in UTC, in the format of `<time datetime>`."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def unix_ms(at: datetime) -> int:
    """A time in Unix milliseconds. It is never rounded up: the second must stay the same."""
    return (at - _EPOCH) // _MILLISECOND
