"""The text of a job's log: the head and the tail that DQM² keeps of it, as one."""

from dqm2.records import JobLog

# What stands for the lines between head and tail, in a paragraph of its own.
GAP = "[… the middle of the log is not kept …]"
# Fewer lines than these can be equal by chance: empty ones, rulers.
_SURELY_SHARED = 3


def whole(log: JobLog) -> str:
    """Head and tail in one; lines that are in both stand once, as in the log of a short job."""
    head, tail = log.head.splitlines(keepends=True), log.tail.splitlines(keepends=True)
    longest = min(len(head), len(tail))
    least = min(_SURELY_SHARED, longest)
    shared = next((count for count in range(longest, least - 1, -1) if head[-count:] == tail[:count]), 0)
    gap = f"\n{GAP}\n\n" if head and tail and not shared else ""
    return "".join([*head, gap, *tail[shared:]])
