"""Builders of DQM² documents, one per type (docs/dqm2-protocol.md, "Document types").

Every field has a default, so that a test names only what matters to it. `extra` is merged into the document's
`extra`; other keyword arguments replace or add top-level fields.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dqm2.records import LUMISECTION_S
from simulator.machines import Document

FILTER_UNIT = "dqmfu-c2b03-45-01"
BUILDER_UNIT = "dqmrubu-c2a06-01-01"
PLAYBACK_BUILDER_UNIT = "dqmrubu-c2a06-03-01"
STORAGE_MANAGER = "sm-c2a11-43-01"
INSTALLATION = "production_0909_CMSSW_12_4_8_39145_39162_39341_39326_39353"

_GIB = 1 << 30


def job_id(run: int, host: str, pid: int) -> str:
    """The `_id` of a job's document."""
    return f"dqm-source-state-run{run:06d}-host{host}-pid{pid:06d}"


def job_document(
    *,
    host: str = FILTER_UNIT,
    run: int = 358788,
    tag: str = "beampixel_dqm_sourceclient-live",
    pid: int = 39363,
    timestamp: float | None = None,
    exit_code: int | None = None,
    run_key: str = "cosmic_run",
    installation: str = INSTALLATION,
    lumisections: int = 10,
    events_per_lumisection: int = 1200,
    extra: Mapping[str, Any] | None = None,
    without: Iterable[str] = (),
    **fields: Any,
) -> Document:
    """A job that has processed `lumisections`, at the speed of data taking; with an `exit_code` it has ended.

    `without` names fields to leave out. As in the original, fields of the C++ job itself are strings.
    """
    now = time.time() if timestamp is None else timestamp
    started = now - lumisections * LUMISECTION_S
    document: Document = {
        "_id": job_id(run, host, pid),
        "type": "dqm-source-state",
        "run": run,
        "tag": tag,
        "hostname": host,
        "sequence": 0,
        "pid": pid,
        "cmdline": command_line(tag, run, run_key, installation),
        "timestamp": now,
        "report_timestamp": now,
        **_process_files(run, pid),
        "events_total": str(lumisections * events_per_lumisection),
        "events_rate": f"{events_per_lumisection / LUMISECTION_S:.9g}",
        "cmssw_run": str(run),
        "cmssw_lumi": str(lumisections),
        "fi_state": "0" if exit_code is None else "1",
    }
    if exit_code is not None:
        document["exit_code"] = exit_code
    closed = [(n, started + n * LUMISECTION_S) for n in range(1, lumisections + 1)]
    document["extra"] = {
        "environ": environment(host, run, pid),
        "ps_info": process_status(pid, size_kb=1_088_232, rss_kb=362_744),
        "mem_info": {f"{at:.6f}": statm_line(1_088_232, 362_744) for _, at in closed},
        "lumi_stats": {f"{at:.6f}": lumisection_entry(n, events_per_lumisection) for n, at in closed},
        "lumi_seen": {f"lumi{n:06d}": "close: ok" for n, _ in closed},
        "stdlog_start": [f"-- starting process: {['cmsRun', *document['cmdline'][1:]]} --\n"],
        "stdlog_end": [f"-- process exit: {exit_code} --\n"] if exit_code is not None else [],
        **(extra or {}),
    }
    for name in without:
        document.pop(name, None)
    return {**document, **fields}


def command_line(tag: str, run: int, run_key: str, installation: str) -> list[str]:
    """The command line with which HLTD starts a client."""
    return [
        "cmsRun",
        f"/cmsnfsdqmdata/dqmdata/dqm_cmssw/{installation}/src/DQM/Integration/python/clients/{tag}_cfg.py",
        "runInputDir=/fff/BU0/ramdisk",
        f"runNumber={run}",
        f"runkey={run_key}",
        f"runUniqueKey={run:08x}-9f31-4a2c-8f7e-0000{run:08x}",
    ]


def _process_files(run: int, pid: int) -> dict[str, Any]:
    log = f"/var/log/hltd/pid/hlt_run{run}_pid{pid}.log"
    return {
        "monitoring_pid": pid - 1,
        "monitoring_socket": f"/tmp/dqm_monitoring/.es_monitoring_pid{pid - 1:08d}",  # noqa: S108 - a path at P5
        "stdlog_gzip": f"{log}.gz",
        "stdout_fn": log,
        "stderr_fn": log,
    }


def environment(host: str, run: int, pid: int) -> dict[str, str]:
    """The environment variables of a job, without secrets."""
    return {
        "HOME": "/nfshome0/dqmpro",
        "USER": "dqmpro",
        "LOGNAME": "dqmpro",
        "SHELL": "/bin/bash",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PWD": "/",
        "HOSTNAME": f"{host}.cms",
        "KRB5CCNAME": "FILE:/tmp/krb5cc_51234_dqm",
        "GZIP_LOG": f"/var/log/hltd/pid/hlt_run{run}_pid{pid}.log.gz",
        "FRONTIER_PROXY": "http://cmsfrontier-proxy.cms:3128",
        "DQM2_SOCKET": f"/tmp/dqm_monitoring/.es_monitoring_pid{pid - 1:08d}",  # noqa: S108 - a path at P5
    }


def process_status(pid: int, *, size_kb: int, rss_kb: int) -> dict[str, str]:
    """`/proc/PID/status` as DQM² reads it."""
    return {
        "Name": "cmsRun",
        "State": "S (sleeping)",
        "Pid": str(pid),
        "PPid": str(pid - 1),
        "Uid": "51234\t51234\t51234\t51234",
        "VmPeak": f"{size_kb} kB",
        "VmRSS": f"{rss_kb} kB",
        "Threads": "9",
    }


def statm_line(size_kb: int, rss_kb: int) -> str:
    """A line of `/proc/PID/statm`, in pages of 4 kB."""
    return f"{size_kb // 4} {rss_kb // 4} 30000 5 0 {size_kb // 15} 0"


def lumisection_entry(number: int, events: int, milliseconds: int = 23310) -> dict[str, str]:
    """An entry of `lumi_stats`; interim entries have fewer milliseconds."""
    return {
        "n": str(number),
        "nevents": str(events),
        "nmillis": str(milliseconds),
        "rate": f"{events * 1000 / milliseconds if milliseconds else 0:.9g}",
    }


def files_id(run: int, host: str) -> str:
    """The `_id` of a run's file delivery document."""
    return f"dqm-files-{host}-analyze_files-run{run}"


def files_document(
    *,
    host: str = BUILDER_UNIT,
    run: int = 358788,
    timestamp: float | None = None,
    global_start: float | None = None,
    lumisections: int = 10,
    streams: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    extra: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Document:
    """File delivery of a run; by default one stream whose files arrive 3 s after their lumisections."""
    now = time.time() if timestamp is None else timestamp
    start = now - (lumisections + 1) * LUMISECTION_S if global_start is None else global_start
    own_streams = streams or {
        f"streamDQM_{STORAGE_MANAGER}": stream(
            range(1, lumisections + 1),
            [start + n * LUMISECTION_S + 3.0 for n in range(1, lumisections + 1)],
        )
    }
    return {
        "_id": files_id(run, host),
        "type": "dqm-files",
        "tag": "analyze_files",
        "run": run,
        "hostname": host,
        "sequence": 0,
        "pid": 8066,
        "timestamp": now,
        "extra": {
            "streams": {name: dict(entries) for name, entries in own_streams.items()},
            "global_start": start,
            "global_start_source": "global_file",
            "lumi": LUMISECTION_S,
            **(extra or {}),
        },
        **fields,
    }


def stream(
    lumisections: Sequence[int],
    mtimes: Sequence[float],
    *,
    accepted: Sequence[int] | None = None,
    processed: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
) -> dict[str, list[Any]]:
    """The lists of a stream with one entry per file; a file is renamed 2 ms after it is written."""
    return {
        "lumis": list(lumisections),
        "mtimes": list(mtimes),
        "ctimes": [at + 0.002 for at in mtimes],
        "evt_accepted": list(accepted if accepted is not None else [11] * len(lumisections)),
        "evt_processed": list(processed if processed is not None else [9472] * len(lumisections)),
        "fsize": list(sizes if sizes is not None else [1_617_156] * len(lumisections)),
    }


def stats_document(
    *,
    host: str = FILTER_UNIT,
    timestamp: float | None = None,
    total_bytes: int = 63 * _GIB,
    free_bytes: int = 2 * _GIB,
    available_bytes: int = 40 * _GIB,
    loggers: Mapping[str, Sequence[str]] | None = None,
    extra: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Document:
    """Memory usage of a machine, mostly page cache, and the logs of its DQM²."""
    return {
        "_id": f"dqm-stats-{host}",
        "type": "dqm-stats",
        "hostname": host,
        "sequence": 12,
        "pid": 3121,
        "timestamp": time.time() if timestamp is None else timestamp,
        "memory_used": total_bytes - free_bytes,
        "memory_free": free_bytes,
        "memory_total": total_bytes,
        "extra": {
            "meminfo": {
                "MemTotal": total_bytes // 1024,
                "MemFree": free_bytes // 1024,
                "MemAvailable": available_bytes // 1024,
            },
            "loggers": {name: list(lines) for name, lines in (loggers or {}).items()},
            **(extra or {}),
        },
        **fields,
    }


def diskspace_document(
    *,
    host: str = BUILDER_UNIT,
    timestamp: float | None = None,
    total_bytes: int = 240 * _GIB,
    free_bytes: int = 155 * _GIB,
    file_count: int | None = 8123,
    **fields: Any,
) -> Document:
    """Disk usage of a machine; `total_bytes=-1` if it is unknown."""
    is_known = total_bytes >= 0
    return {
        "_id": f"dqm-diskspace-{host}-fff_deleter",
        "type": "dqm-diskspace",
        "tag": "fff_deleter",
        "hostname": host,
        "sequence": 7,
        "pid": 3122,
        "timestamp": time.time() if timestamp is None else timestamp,
        "disk_used": total_bytes - free_bytes if is_known else -1,
        "disk_free": free_bytes if is_known else -1,
        "disk_total": total_bytes,
        "extra": {"file_count": file_count, "thresholds": {"rename": 60, "delete": 80}},
        **fields,
    }


def playback_document(
    *,
    host: str = PLAYBACK_BUILDER_UNIT,
    run: int = 500015,
    state: str = "running",
    lumisection: int | None = 17,
    timestamp: float | None = None,
    source: str = "/fff/output/playback_files/run256936/",
    run_key: str = "pp_run",
    number_of_ls: int = 1500,
    **fields: Any,
) -> Document:
    """The playback cluster's simulator at a lumisection, `None` before the first one."""
    document: Document = {
        "_id": f"dqm-playback-{host}-applets.fff_simulator-run{run}",
        "type": "dqm-playback",
        "tag": "applets.fff_simulator",
        "run": run,
        "hostname": host,
        "sequence": 0,
        "pid": 3123,
        "timestamp": time.time() if timestamp is None else timestamp,
        "state": state,
        "socket_name": "bd68c7bb.fff_simulator",
        "config": {
            "source": source,
            "ramdisk": "/fff/ramdisk/",
            "run_key": run_key,
            "number_of_ls": number_of_ls,
            "lumi_timeout": 23.4,
            "run": run,
        },
        "extra": {
            "ls_map": {"DQM": _played_file(source, lumisection or 0)},
            "streams_found": {"DQM": {"lumi_files": [0]}},
        },
    }
    if lumisection is not None:
        document["ls"] = lumisection
    return {**document, **fields}


def _played_file(source: str, lumisection: int) -> str:
    run = source.rstrip("/").rpartition("/")[2]
    return f"{source}{run}_ls{lumisection:04d}_streamDQM_mrg-c2f12-21-01.dat"
