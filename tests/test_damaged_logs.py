"""A stored log that can't be read: all else of its job is shown, other logs are found and analyzed."""

import pytest
import sqlalchemy as sa
import zstandard
from flask.testing import FlaskClient

import db
from benchmarks.crash_corpus import CRASH_LOGS
from dqm2.records import CrashReason, JobRecord
from dqmsquare_cfg import Cluster, Settings
from storage.log_backfill import analyze_outdated
from storage.log_dictionaries import DictionaryStore
from tests.grabber_runner import execute, reader
from tests.mirrored_cluster import MirroredCluster, crashed_job
from tests.test_pages_crashes import group_url

RUN = 358_788
SENTENCE = "The stored log of this job is damaged and can't be read."
# A frame of which the header says that it has an exabyte.
_EXABYTE = b"\x28\xb5\x2f\xfd\xe0" + (2**60).to_bytes(8, "little")
# A frame that needs dictionary 6.
_NEEDS_DICTIONARY = b"\x28\xb5\x2f\xfd\x21\x06\x01\x09\x00\x00x"


def damage(settings: Settings, record: JobRecord, content: bytes = b"(\xb5/\xfd damaged") -> None:
    of_job = db.job_details.c.identity == record.document.identity
    execute(settings, sa.update(db.job_details).where(of_job).values(log=content))


@pytest.fixture
def damaged(settings: Settings) -> JobRecord:
    """A crashed job, of which the log is damaged after it was analyzed."""
    cluster = MirroredCluster(settings)
    record = crashed_job(RUN, CRASH_LOGS[0])
    cluster.write(cluster.filter_units[0], record, crashed_job(RUN + 1, CRASH_LOGS[0], variation=1))
    cluster.beat()
    damage(settings, record)
    return record


def crash_of(record: JobRecord) -> CrashReason:
    assert record.crash is not None
    return record.crash


def test_its_damage_is_noticed(settings: Settings, damaged: JobRecord) -> None:
    for content in (
        b"",
        b"(\xb5/\xfd damaged",
        zstandard.compress(b"\0\0\0\0a log")[:-2],
        zstandard.compress(b"\0\0\0\0\xff\xfe"),
        zstandard.compress((7).to_bytes(4, "little") + b"a head"),
        _EXABYTE,
        _NEEDS_DICTIONARY,
    ):
        damage(settings, damaged, content)
        details = reader(settings).jobs.details(damaged.document.identity)
        assert details is not None
        found = (details.is_log_damaged, details.log.tail, details.job.crash)
        assert found == (True, "", crash_of(damaged)), content


def test_its_page_shows_all_else(client: FlaskClient, damaged: JobRecord) -> None:
    page = client.get(f"/job/{damaged.document.identity}")
    assert page.status_code == 200
    assert SENTENCE in page.text
    assert crash_of(damaged).message[:20] in page.text
    assert "Download as text" not in page.text
    assert client.get(f"/job/{damaged.document.identity}/series").status_code == 200
    download = client.get(f"/job/{damaged.document.identity}/log.txt")
    assert (download.status_code, download.text) == (404, SENTENCE)


def test_the_live_page_shows_its_job(client: FlaskClient, damaged: JobRecord) -> None:
    page = client.get("/", query_string={"run": RUN, "job": str(damaged.document.identity)})
    assert page.status_code == 200
    assert SENTENCE in page.text


def test_searches_leave_it_out_and_say_so(client: FlaskClient, damaged: JobRecord) -> None:
    query = crash_of(damaged).message
    response = client.get("/crashes/search", query_string={"q": query, "numbers": "any"})
    assert response.status_code == 200
    assert "1 damaged log can't be read and was left out." in response.text
    assert f"run={RUN + 1}" in response.text
    assert f"run={RUN}&" not in response.text


def test_a_group_of_crashes_shows_another_log(client: FlaskClient, settings: Settings) -> None:
    cluster = MirroredCluster(settings)
    records = [crashed_job(RUN + at, CRASH_LOGS[0], variation=at) for at in range(2)]
    cluster.write(cluster.filter_units[0], *records)
    cluster.beat()
    damage(settings, records[1])
    page = client.get(group_url(client))
    assert page.status_code == 200
    assert f"run {RUN}, line" in page.text


def test_scripts_get_all_else(client: FlaskClient, damaged: JobRecord) -> None:
    job_id = str(damaged.document.identity)
    old = client.get("/api", query_string={"what": "get_logs", "db": "production", "id": job_id})
    assert (old.status_code, f"[{SENTENCE}]" in old.text.replace("&#39;", "'")) == (200, True)
    path = f"/api/v1/clusters/production/jobs/{job_id}"
    assert client.get(path).get_json()["crash"]["message"] == crash_of(damaged).message
    log = client.get(f"{path}/log")
    assert (log.status_code, log.get_json()["detail"]) == (404, SENTENCE)


def test_it_is_logged_once(client: FlaskClient, damaged: JobRecord, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        client.get(f"/job/{damaged.document.identity}")
    assert caplog.text.count("log_damaged") == 1
    assert f"log_damaged job={damaged.document.identity} reason=" in caplog.text


def test_its_findings_are_kept_by_an_analysis(settings: Settings, damaged: JobRecord) -> None:
    execute(settings, sa.update(db.jobs).values(log_rules=1))
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    assert list(analyze_outdated(database)) == [2]
    database.dispose()
    details = reader(settings).jobs.details(damaged.document.identity)
    assert details is not None
    assert (details.job.crash, details.errors) == (crash_of(damaged), damaged.errors)


@pytest.mark.usefixtures("damaged")
def test_no_dictionary_is_trained_on_it(settings: Settings) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    assert DictionaryStore(database).train() is None
    database.dispose()
