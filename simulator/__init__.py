"""A DQM² that runs on this machine: two clusters behind one gateway, for the demo, tests and benchmarks.

It speaks the protocol as seen from outside P5, over HTTPS with a throwaway authority, and can be told to
misbehave. Nothing of it is real: runs, logs, names and secrets are made up from a seed.

    the door      https, certificates, exchange, recorder
    the gateway   gateway, sync, control, daemon_logs; faults, misbehaviour; administration, remote, filling
    the machines  site, machine, services, switches
    their life    world, agenda, life, monitors, vitals
    its plans     plans, runs, clients, sensitive
    what is told  documents, job_life, cmssw_log, delivery

What is true of a run or a job at any moment follows from its plan, so that a document is written out only
when somebody asks for it.
"""

from simulator.control_commands import Mode
from simulator.documents import (
    diskspace_document,
    files_document,
    job_document,
    playback_document,
    stats_document,
    stream,
)
from simulator.fault_injection import AskKind, Fault, FaultKind, Faults
from simulator.machine import Document, Machine
from simulator.misbehaviour import WRONG_TYPES
from simulator.remote import Remote, RemoteError
from simulator.request_recorder import Recorded
from simulator.simulator import Simulator

__all__ = [
    "WRONG_TYPES",
    "AskKind",
    "Document",
    "Fault",
    "FaultKind",
    "Faults",
    "Machine",
    "Mode",
    "Recorded",
    "Remote",
    "RemoteError",
    "Simulator",
    "diskspace_document",
    "files_document",
    "job_document",
    "playback_document",
    "stats_document",
    "stream",
]
