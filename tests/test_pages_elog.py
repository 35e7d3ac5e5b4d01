"""The text for the e-log: complete sentences about a run, its problems, crashes and mutes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from flask.testing import FlaskClient

import db
from dqm2.records import CrashKind, CrashReason
from dqmsquare_cfg import Cluster, Settings
from storage.mutes import MuteSubject, MuteWriter
from tests.live_page import elog_of
from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791
AT = datetime.now(UTC)
EARLIER = AT - timedelta(minutes=30)
START = AT - timedelta(hours=2)


def shown(at: datetime) -> str:
    """Date and time, as the text shows them."""
    return f"{at.astimezone(ZoneInfo('Europe/Zurich')):%d %b %Y %H:%M:%S %Z}"


def elog(client: FlaskClient, query: str = "") -> list[str]:
    """The lines of the text."""
    return elog_of(client, query).split("\n")


def test_it_introduces_the_run(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], *(job(RUN, name, at=AT) for name in ("beam", "csc")))
    assert elog(client) == [
        (
            f"Run {RUN} of the production cluster (run key pp_run, CMSSW_12_4_8_39145_39162) is ongoing. "
            f"It started on {shown(START)}. The last report of a client is from {shown(AT)}, "
            "and the newest lumisection (LS) was 300."
        ),
        "Both clients are running.",
    ]


def test_it_says_what_is_not_known(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unknown = {"run_key": None, "cmssw_version": None, "lumisection": None, "lumisection_at": None}
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam", at=AT, exit_code=0, **unknown))
    run, clients = elog(client)
    assert run.startswith(
        f"Run {RUN} of the production cluster (unknown run key, unknown CMSSW release) has ended."
    )
    assert run.endswith(f"The last report of a client is from {shown(AT)}.")
    assert clients == "The only client has finished."


def test_it_describes_each_problem(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    machine = mirrored.label(unit)
    mirrored.write(unit, job(RUN - 1, "rpc", at=START, exit_code=0))
    mirrored.write(
        unit,
        job(RUN, "beam", at=AT),
        job(RUN, "csc", at=EARLIER, started_at=START, exit_code=-11, lumisection=120),
        job(RUN, "csc", at=AT, started_at=EARLIER),
        job(RUN, "dt", at=EARLIER, started_at=START, exit_code=65, lumisection=7),
        job(RUN, "dt", at=AT, started_at=EARLIER, exit_code=-9, lumisection=9),
        job(RUN, "ecal", at=EARLIER, started_at=START, lumisection=200),
        job(RUN, "fed", at=AT, lumisection=283),
        job(RUN, "hcal", at=AT, started_at=START, exit_code=-6, lumisection=None, lumisection_at=None),
    )
    _, clients, *items = elog(client)
    assert clients == (
        "Of 7 clients, 2 have crashed, 1 is stuck, 1 is missing and 3 are running. "
        "2 jobs crashed and were restarted."
    )
    assert items == [
        (
            f"- dt crashed 2 times, last on {shown(AT)} at LS 9 on "
            f"{machine}, with exit code -9 (SIGKILL: killed by HLTD, by a person, or because the machine was "
            "out of memory). It has not been restarted since. This crash is new in this run (dt: SIGKILL: "
            "killed by HLTD, by a person, or because the machine was out of memory). An earlier, different "
            "crash is new in this run (dt: CMSSW error 8001: an exception of CMS's own code)."
        ),
        (
            f"- hcal crashed on {shown(AT)} before its first LS on {machine}, with exit "
            "code -6 (SIGABRT: aborted: failed assertion or uncaught exception). It has not been restarted. "
            "This crash is new in this run (hcal: SIGABRT: aborted: failed assertion or uncaught exception)."
        ),
        f"- ecal is stuck: its last report, from {machine} on {shown(EARLIER)}, was at LS 200.",
        "- rpc is missing: it has no job in this run, but had one in the previous run with this run key.",
        (
            f"- csc crashed on {shown(EARLIER)} at LS 120 on {machine}, with exit code -11 "
            "(SIGSEGV: segmentation violation). It was restarted and is running. "
            "This crash is new in this run (csc: SIGSEGV: segmentation violation)."
        ),
        f"- fed is running on {machine}, but 17 LS behind, at LS 283.",
    ]


def test_it_names_mutes(client: FlaskClient, mirrored: MirroredCluster, settings: Settings) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    writer = MuteWriter(database)
    writer.mute(MuteSubject("beam_dqm_sourceclient-live"), "its <beam> is off.", "alice", timedelta(hours=1))
    database.dispose()
    [item] = elog(client)[2:]
    assert item.startswith("- beam is running. It is muted by alice until ")
    assert item.endswith(": its <beam> is off.")


def test_it_is_empty_for_an_unknown_run(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    assert 'id="elog"' not in client.get("/live/run?run=7").text


def test_it_gives_the_reason_that_the_log_has(client: FlaskClient, mirrored: MirroredCluster) -> None:
    crash = CrashReason(CrashKind.EXCEPTION, "ProductNotFound", "Found zero products.", "EcalMonitor", "ecal")
    signal = CrashReason(CrashKind.SIGNAL, "SIGSEGV")
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "ecal", at=AT, exit_code=65, crash=crash),
        job(RUN, "es", at=AT, exit_code=-11, crash=signal),
    )
    ecal, es = elog(client)[2:]
    assert ": ProductNotFound in EcalMonitor:ecal: Found zero products (exit code 65). It has not" in ecal
    assert ", with exit code -11 (SIGSEGV: segmentation violation). It has not" in es
