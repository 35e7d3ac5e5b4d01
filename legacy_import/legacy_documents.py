"""Rows of an earlier mirror as the documents of DQM² that they were made of, as far as they still tell."""

from dataclasses import dataclass
from typing import Any

from dqm2.records import DocumentType
from legacy_import import repr_parser

# What stood for "none yet": a job that ran when it was last seen.
_NO_EXIT_CODE = -1

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EarlierDocument:
    """What rows of jobs and of file delivery have in common; nothing of it is trusted yet.

    `at_s` is when it was reported, `run_at_s` when anything of its run last was, in unix seconds.
    """

    id: str
    host: str | None
    run: int
    revision: int | None
    at_s: float | None
    run_at_s: float | None


@dataclass(frozen=True, slots=True)
class EarlierJob(EarlierDocument):
    """A row of `runs`; `log_head` and `log_tail` are the `repr` of a list of lines."""

    client: str | None
    exit_code: int | None
    events_total: int | None
    events_rate: float | None
    cmssw_run: int | None
    cmssw_lumi: int | None
    client_path: str | None
    runkey: str | None
    fi_state: str | None
    vmrss: str | None
    log_head: str | None
    log_tail: str | None

    def document(self) -> Document:
        """The job's document.

        Where it is not known how the job ended, the document passes for one that is older by a revision, so
        that DQM²'s own goes over it.
        """
        return {
            **_origin(self, DocumentType.JOB, since=0 if self.is_determined else 1),
            "tag": self.client,
            "exit_code": self.exit_code if self.is_determined else None,
            "events_total": self.events_total,
            "events_rate": self.events_rate,
            "cmssw_run": self.cmssw_run,
            "cmssw_lumi": self.cmssw_lumi,
            "fi_state": self.fi_state,
            "cmdline": [self.client_path, self.runkey],
            "extra": {
                "ps_info": {"VmRSS": self.vmrss or None},
                "stdlog_start": _log(self.log_head),
                "stdlog_end": _log(self.log_tail),
            },
        }

    @property
    def is_determined(self) -> bool:
        """Whether it is known how the job ended. One that ended with -1 can't be told from one that ran."""
        return self.exit_code not in (None, _NO_EXIT_CODE)


@dataclass(frozen=True, slots=True)
class EarlierDelivery(EarlierDocument):
    """A row of `graphs`; `streams` is the `repr` of a dictionary, `global_start_s` in unix seconds."""

    global_start_s: float | None
    streams: str | None

    def document(self) -> Document:
        """The document of the run's file delivery."""
        return {
            **_origin(self, DocumentType.DELIVERY),
            "extra": {
                "global_start": self.global_start_s,
                "streams": _streams(self.streams),
            },
        }


def _origin(row: EarlierDocument, kind: DocumentType, since: int = 0) -> Document:
    return {
        "_id": row.id,
        "_rev": max((row.revision or 0) - since, 0),
        "type": kind.value,
        "run": row.run,
        "timestamp": row.at_s,
        "report_timestamp": row.run_at_s,
    }


def _log(text: str | None) -> str | None:
    """A log; a text that is no list of lines is one itself, its escaped line ends made such."""
    if text is None:
        return None
    log = repr_parser.log(text)
    return text.replace("\\n", "\n") if log is None else log


def _streams(text: str | None) -> object:
    """The streams; a text that tells of none stays one, for the allowlist to leave out."""
    if text is None:
        return None
    streams = repr_parser.streams(text)
    return text if streams is None else streams
