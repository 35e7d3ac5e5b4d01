"""One document of each type, as DQM² sends them, and the parser call that admits them."""

import copy
from datetime import UTC, datetime
from typing import Any

from dqm2.document_parser import DocumentParser, ParsedDocument
from dqm2.pseudonyms import Pseudonymizer
from dqm2.redaction.redactor import Redactor

MACHINE = "fu-c2f11-11-01"
NOW = datetime(2022, 9, 15, 14, 0, tzinfo=UTC)
PSEUDONYMIZER = Pseudonymizer("a secret of the tests")
PARSER = DocumentParser(Redactor())

PATH = "/dqm_cmssw/production_0909_CMSSW_12_4_8_39145_39162/src/clients/ecal_dqm_sourceclient-live_cfg.py"

JOB: dict[str, Any] = {
    "_id": "dqm-source-state-run358788-hostfu-c2f11-11-01-pid039363",
    "_rev": 7911216,
    "type": "dqm-source-state",
    "run": 358788,
    "tag": "ecal_dqm_sourceclient-live",
    "hostname": "fu-c2f11-11-01",
    "pid": 39363,
    "cmdline": ["cmsRun", PATH, "runNumber=358788", "runkey=cosmic_run", "runUniqueKey=a32007f9-223a"],
    "timestamp": 1663242342.452877,
    "monitoring_socket": "/tmp/dqm_monitoring/.es_monitoring_pid00039362",
    "events_total": "1165",
    "events_rate": "3.25",
    "cmssw_run": "358788",
    "cmssw_lumi": "97",
    "fi_state": "1",
    "exit_code": -9,
    "extra": {
        "environ": {"USER": "dqmpro", "FRONTIER_PROXY": "http://cmsfrontier-proxy.cms:3128"},
        "ps_info": {"Name": "cmsRun", "VmRSS": "362744 kB", "Uid": "51234\t51234"},
        "mem_info": {
            "1663242312.5": "272058 63480 30000 5 0 72548 0",
            "1663242282.5": "272058 36274 30000 5 0 72548 0",
        },
        "lumi_stats": {
            "1663242342.3": {"n": "2", "nevents": "30", "nmillis": "23310", "rate": "1"},
            "1663242330.2": {"n": "2", "nevents": "11", "nmillis": "9000", "rate": "1"},
            "1663242319.1": {"n": "1", "nevents": "24", "nmillis": "23311", "rate": "1"},
        },
        "lumi_seen": {"lumi000002": "close: ok", "lumi000001": "skipped: timeout"},
        "stdlog_start": ["-- starting process: cmsRun\n", "collector dqm-prod-local.cms:9090\n"],
        "stdlog_end": ["T---Report end!\n", "-- process exit: -9 --\n"],
    },
}

DELIVERY: dict[str, Any] = {
    "_id": "dqm-files-bu-c2f11-09-01-analyze_files-run358788",
    "_rev": 6001382,
    "type": "dqm-files",
    "tag": "analyze_files",
    "run": 358788,
    "hostname": "bu-c2f11-09-01",
    "timestamp": 1663243607.5,
    "extra": {
        "streams": {
            "streamDQM_sm-c2a11-43-01": {
                "lumis": [2, 1],
                "mtimes": [1663240076.1332, 1663240052.5067],
                "ctimes": [1663240076.1353, 1663240052.5087],
                "evt_accepted": [11, 6],
                "evt_processed": [9653, 9472],
                "fsize": [1617156, 1042242],
            }
        },
        "global_start": 1663240007.5,
        "global_start_source": "global_file",
        "lumi": 23.310893056,
    },
}

PLAYBACK: dict[str, Any] = {
    "_id": "dqm-playback-bu-c2f11-13-01-fff_simulator-run500015",
    "_rev": 991,
    "type": "dqm-playback",
    "run": 500015,
    "hostname": "bu-c2f11-13-01",
    "timestamp": 1663243000.0,
    "state": "running",
    "ls": 17,
    "config": {
        "source": "/fff/output/playback_files/run256936/",
        "run_key": "pp_run",
        "number_of_ls": 1500,
        "ramdisk": "/fff/ramdisk/",
    },
}

MEMORY: dict[str, Any] = {
    "_id": "dqm-stats-fu-c2f11-11-01",
    "_rev": 7912099,
    "type": "dqm-stats",
    "hostname": "fu-c2f11-11-01",
    "timestamp": 1663243000.0,
    "memory_used": 41231233024,
    "memory_free": 26331234304,
    "memory_total": 67562467328,
    "extra": {
        "meminfo": {"MemTotal": 65979000, "MemAvailable": 25714096},
        "loggers": {"root": ["WebSocket connected: ['10.176.60.12', 53312]\n"]},
    },
}

DISK: dict[str, Any] = {
    "_id": "dqm-diskspace-bu-c2f11-09-01-fff_deleter",
    "_rev": 6001379,
    "type": "dqm-diskspace",
    "tag": "fff_deleter",
    "hostname": "bu-c2f11-09-01",
    "timestamp": 1663243000.0,
    "disk_used": 91231233024,
    "disk_free": 166331234304,
    "disk_total": 257562467328,
    "extra": {"file_count": 8123, "thresholds": {"rename": 60}},
}

ALL = (JOB, DELIVERY, PLAYBACK, MEMORY, DISK)


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of the document with another value at a path such as `extra.lumi_seen`."""
    changed_document = copy.deepcopy(document)
    *outer, last = path.split(".")
    holder = changed_document
    for key in outer:
        holder = holder[key]
    holder[last] = value
    return changed_document


def without(document: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy of the document without the value at a path."""
    changed_document = copy.deepcopy(document)
    *outer, last = path.split(".")
    holder = changed_document
    for key in outer:
        holder = holder[key]
    del holder[last]
    return changed_document


def parsed(document: object, machine: str = MACHINE) -> ParsedDocument:
    """Parse a document as one of a machine's."""
    document_id = document.get("_id") if isinstance(document, dict) else None
    return PARSER.parse(document, PSEUDONYMIZER.for_document(machine, str(document_id)), now=NOW)
