"""Mutes: an expert marks a client as known to be bad, and all pages show it."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
import requests
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from storage.audit_log import Outcome
from storage.mutes import MuteReader, MuteSubject, MuteWriter
from tests.control_room import USER, Visitor
from tests.grabber_runner import execute, rows
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import served
from tests.waiting import until

RUN = 358_791
CRASHED = "ecalgpu_dqm_sourceclient-live"
REASON = "its database is being moved"
INVALID_FORMS: tuple[dict[str, object], ...] = (
    {"client": "none_of_this_run"},
    {"client": ""},
    {"client": [CRASHED, CRASHED]},
    {"client": f"{CRASHED}/0123456789abcdef"},
    {"client": f"{CRASHED}/"},
    {"hours": "9"},
    {"hours": "1e3"},
    {"reason": " \n"},
    {"reason": "x" * 201},
    {"db": "lookarea"},
    {"run": "358791 OR 1=1"},
    {"run": "7"},
    {"run": "9" * 5000},
)


@pytest.fixture(scope="module")
def settings(shared_settings: Settings) -> Settings:
    """The settings of a module with a run in the production cluster in which two of three clients crashed."""
    _write_run(MirroredCluster(shared_settings))
    return shared_settings


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    """The URL of a server in a thread of its own."""
    with served(settings) as url:
        yield url


@pytest.fixture(scope="module")
def expert(url: str) -> Visitor:
    """An expert who is signed in."""
    return Visitor(url).sign_in()


@pytest.fixture(autouse=True)
def _no_mutes(settings: Settings, url: str) -> None:
    """Forget the mutes of the test before, and what is recorded of them."""
    for cluster in Cluster:
        change(settings, sa.delete(db.mutes), sa.delete(db.audit_log), cluster=cluster)
    MirroredCluster(settings).beat()
    until(lambda: "muted by" not in live_page(url))


def _write_run(cluster: MirroredCluster) -> None:
    crashed = (job(RUN, client, exit_code=-11) for client in ("ecalgpu", "hcalreco"))
    cluster.write(cluster.filter_units[0], job(RUN, "beam"), *crashed)


def change(settings: Settings, *statements: sa.Executable, cluster: Cluster = Cluster.PRODUCTION) -> None:
    """Execute statements in one transaction, and notify servers: they learn of changes by that only."""
    notified = sa.select(sa.func.pg_notify(db.CHANNEL, "mutes"))
    execute(settings, *statements, notified, cluster=cluster)


def stored_mutes(settings: Settings, *clusters: Cluster) -> list[dict[str, Any]]:
    """The mutes in the databases of clusters, by default of all."""
    return [mute for cluster in clusters or Cluster for mute in rows(settings, db.mutes, cluster)]


def form(expert: Visitor, **given: object) -> dict[str, object]:
    usual = {"db": "production", "client": CRASHED, "reason": REASON, "hours": "8"}
    return {"csrf_token": expert.token, **usual, **given}


def mute(expert: Visitor, **given: object) -> requests.Response:
    return expert.post("/cr/mutes/", form(expert, **given))


def live_page(url: str, cluster: Cluster = Cluster.PRODUCTION) -> str:
    return Visitor(url).get(f"/?db={cluster}").text


def live_page_with(url: str, text: str, cluster: Cluster = Cluster.PRODUCTION) -> str:
    """The live page, once it has a text: a server learns of a mute by a notification, soon after."""
    pages: list[str] = []

    def has_text() -> bool:
        pages.append(live_page(url, cluster))
        return text in pages[-1]

    until(has_text)
    return pages[-1]


def test_it_shows_the_mutes_of_one_cluster_while_the_database_of_the_other_is_down(
    settings: Settings,
) -> None:
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    playback.write(playback.filter_units[0], job(RUN, "ecalgpu", exit_code=-11))
    with served(replace(settings, postgres_production_db_name="missing")) as url:
        expert = Visitor(url).sign_in()
        assert mute(expert, db="playback").status_code == 303
        page = expert.get("/cr/mutes/")
    assert page.status_code == 200
    assert REASON in page.text
    assert page.text.count("<select") == 2
    assert "Not known: the database of the production cluster" in page.text


def test_it_shows_all_visitors_who_muted_a_client_why_and_until_when(url: str, expert: Visitor) -> None:
    assert "2 problems" in live_page(url)
    assert mute(expert).status_code == 303
    page = live_page_with(url, f"muted by {USER} until")
    assert REASON in page
    assert "1 problem" in page
    assert "1 more muted" in page
    assert f"It is muted by {USER} until" in page.partition('id="elog"')[2].partition("</pre>")[0]


def test_it_ends_when_an_expert_unmutes_the_client(url: str, expert: Visitor) -> None:
    mute(expert)
    live_page_with(url, "muted by")
    ended = expert.post("/cr/mutes/end", form(expert))
    assert ended.status_code == 303
    until(lambda: "muted by" not in live_page(url))
    assert expert.post("/cr/mutes/end", form(expert)).status_code == 404


def test_it_ends_after_its_duration(url: str, expert: Visitor, settings: Settings) -> None:
    before, hour = datetime.now(UTC), timedelta(hours=1)
    mute(expert, hours=1)
    after = datetime.now(UTC)
    live_page_with(url, "muted by")
    [muted] = stored_mutes(settings)
    assert before + hour <= muted["ends_at"] <= after + hour
    change(settings, sa.update(db.mutes).values(ends_at=sa.func.now()))
    until(lambda: "muted by" not in live_page(url))


def test_it_replaces_the_mute_of_the_same_client(url: str, expert: Visitor) -> None:
    mute(expert)
    mute(expert, reason="its geometry is wrong")
    page = live_page_with(url, "its geometry is wrong")
    assert REASON not in page


def test_it_exists_once_per_client_under_concurrency(settings: Settings) -> None:
    experts, clients = 8, [f"client_{number}" for number in range(5)]
    database = db.engine(settings, Cluster.PRODUCTION, "tests", pool_size=experts)
    barrier = Barrier(experts)

    def mute_all(number: int) -> None:
        for client in clients:
            barrier.wait()
            MuteWriter(database).mute(MuteSubject(client), REASON, f"expert {number}", timedelta(hours=1))

    with ThreadPoolExecutor(experts) as pool:
        list(pool.map(mute_all, range(experts)))
    assert sorted(mute.subject.client for mute in MuteReader(database).in_force()) == clients
    database.dispose()


def test_it_applies_to_its_cluster_only(url: str, expert: Visitor, settings: Settings) -> None:
    _write_run(MirroredCluster(settings, Cluster.PLAYBACK))
    mute(expert)
    live_page_with(url, "muted by")
    assert "muted by" not in live_page_with(url, CRASHED, Cluster.PLAYBACK)
    assert stored_mutes(settings, Cluster.PLAYBACK) == []


def test_it_notifies_all_servers(expert: Visitor, settings: Settings) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with closing(database.raw_connection()) as listening:
        listening.cursor().execute(f"LISTEN {db.CHANNEL}")
        listening.commit()
        mute(expert)
        driver: Any = listening.driver_connection

        def is_notified() -> bool:
            driver.poll()
            return bool(driver.notifies)

        # PostgreSQL delivers a notification some time after the commit.
        until(is_notified)
        assert len(driver.notifies) == 1
    database.dispose()


def test_it_is_recorded_in_the_audit_log(expert: Visitor) -> None:
    mute(expert)
    expert.post("/cr/mutes/end", form(expert))
    ended, muted = expert.audit()[:2]
    assert (muted["command"], ended["command"]) == ("mute", "unmute")
    assert (muted["username"], muted["outcome"], muted["cluster"]) == (USER, Outcome.OK, "production")
    assert muted["parameters"] == f"client={CRASHED} hours=8 reason={REASON}"
    assert expert.audit(command="unmute") == [ended]


def test_it_can_be_of_one_crash_of_a_client(url: str, expert: Visitor) -> None:
    [subject, *_] = re.findall(rf'<option value="({CRASHED}/[0-9a-f]{{16}})"', expert.get("/cr/mutes/").text)
    assert mute(expert, client=subject).status_code == 303
    assert "1 more muted" in live_page_with(url, f"this crash is muted by {USER} until")
    # Each has an end of its own.
    assert mute(expert, reason="its geometry is wrong").status_code == 303
    live_page_with(url, "its geometry is wrong")
    assert expert.post("/cr/mutes/end", form(expert)).status_code == 303
    live_page_with(url, f"this crash is muted by {USER} until")
    assert expert.post("/cr/mutes/end", form(expert, client=subject)).status_code == 303
    until(lambda: "muted by" not in live_page(url))
    ended, _, _, muted = expert.audit()[:4]
    group = subject.partition("/")[2]
    assert f"client={CRASHED} crash_group={group} crash=ecalgpu: SIGSEGV: " in muted["parameters"]
    assert (ended["command"], ended["parameters"]) == ("unmute", muted["parameters"].partition(" hours=")[0])


def test_it_leads_to_no_crash_whose_jobs_are_deleted(expert: Visitor, settings: Settings) -> None:
    [subject, *_] = re.findall(rf'<option value="({CRASHED}/[0-9a-f]{{16}})"', expert.get("/cr/mutes/").text)
    mute(expert, client=subject)
    link = f'href="/crashes/{subject.partition("/")[2]}'
    assert link in expert.get("/cr/mutes/").text
    groups = rows(settings, db.crash_groups)
    change(settings, sa.delete(db.crash_groups))
    try:
        page = expert.get("/cr/mutes/").text
    finally:
        change(settings, sa.insert(db.crash_groups).values(groups))
    assert link not in page
    assert "of which no job is kept" in page


def test_a_link_selects_the_crash(expert: Visitor) -> None:
    [subject, *_] = re.findall(rf'<option value="({CRASHED}/[0-9a-f]{{16}})"', expert.get("/cr/mutes/").text)
    client, _, crash = subject.partition("/")
    page = expert.get(f"/cr/mutes/?run={RUN}&client={client}&crash={crash}").text
    of_production = page.partition('id="mutes-production"')[2].partition("</section>")[0]
    assert re.findall(r'<option value="([^"]*)" selected>', of_production) == [subject, "8"]


def test_it_rejects_invalid_forms(expert: Visitor, settings: Settings) -> None:
    answers = {str(given)[:40]: mute(expert, **given).status_code for given in INVALID_FORMS}
    assert {given for given, status in answers.items() if status != 400} == set()
    refused = [entry for entry in expert.audit(command="mute") if entry["outcome"] == Outcome.REFUSED]
    assert len(refused) == len(INVALID_FORMS)
    assert stored_mutes(settings) == []


def test_it_requires_an_expert(url: str, expert: Visitor, settings: Settings) -> None:
    anonymous = Visitor(url)
    assert anonymous.get("/cr/mutes/").headers["Location"] == "/cr/login/?page=mutes"
    assert anonymous.post("/cr/mutes/", form(expert)).status_code == 401
    assert anonymous.post("/cr/mutes/end", form(expert)).status_code == 401
    assert mute(expert, csrf_token="").status_code == 403
    assert expert.get("/cr/mutes/end", params=form(expert)).status_code == 405
    cross_site = expert.post("/cr/mutes/", form(expert), headers={"Origin": "https://evil.example"})
    assert cross_site.status_code == 403
    assert stored_mutes(settings) == []


def test_it_redacts_host_names_in_the_reason(url: str, expert: Visitor) -> None:
    mute(expert, reason="dqmfu-c2b03-45-01.cms is broken, see fu-c2f11-11-01")
    for page in (live_page_with(url, "[host] is broken, see [host]"), expert.get("/cr/mutes/").text):
        assert "c2b03-45-01" not in page
        assert "c2f11-11-01" not in page


def test_it_escapes_markup(url: str, expert: Visitor) -> None:
    mute(expert, reason="<script>alert(1)</script>")
    for page in (live_page_with(url, "&lt;script"), expert.get("/cr/mutes/").text):
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


@pytest.fixture
def without_control_room(settings: Settings) -> Iterator[Callable[[str], requests.Response]]:
    """A GET request to a server without a Control Room."""
    with served(replace(settings, cr_enabled=False)) as url:
        yield Visitor(url).get


def test_it_is_shown_while_the_control_room_is_disabled(
    expert: Visitor, without_control_room: Callable[[str], requests.Response]
) -> None:
    mute(expert)
    page = without_control_room("/").text
    assert REASON in page
    [job, *_] = re.findall(r'data-job="([^"]+)"', page)
    opened = without_control_room(f"/?job={job}").text
    assert "Earlier runs of this client" in opened
    assert "/cr/" not in opened
    assert without_control_room("/cr/mutes/").status_code == 404
