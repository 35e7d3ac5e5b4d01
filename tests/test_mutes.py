"""Mutes: an expert says of a client that it is known to be bad, and everybody's page knows it."""

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
from storage.mutes import MuteReader, MuteWriter
from tests.control_room import USER, Visitor, served
from tests.mirrored import MirroredCluster, job
from tests.waiting import until

RUN = 358_791
CRASHED = "ecalgpu_dqm_sourceclient-live"
REASON = "its database is being moved"
NOT_OFFERED: tuple[dict[str, object], ...] = (
    {"client": "none_of_this_run"},
    {"client": ""},
    {"client": [CRASHED, CRASHED]},
    {"hours": "9"},
    {"hours": "1e3"},
    {"reason": " \n"},
    {"reason": "x" * 201},
    {"db": "lookarea"},
    {"run": "358791 OR 1=1"},
    {"run": "7"},
    {"run": "9" * 5000},
)


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """The production cluster, in whose run two clients of three crashed."""
    cluster = MirroredCluster(settings)
    _write_run(cluster)
    return cluster


@pytest.fixture
def url(settings: Settings, mirrored: MirroredCluster) -> Iterator[str]:
    assert mirrored
    with served(settings) as url:
        yield url


@pytest.fixture
def expert(url: str) -> Visitor:
    return Visitor(url).sign_in()


def _write_run(cluster: MirroredCluster) -> None:
    crashed = (job(RUN, client, exit_code=-11) for client in ("ecalgpu", "hcalreco"))
    cluster.write(cluster.filter_units[0], job(RUN, "beam"), *crashed)
    cluster.beat()


def form(expert: Visitor, **given: object) -> dict[str, object]:
    usual = {"db": "production", "client": CRASHED, "reason": REASON, "hours": "8"}
    return {"csrf_token": expert.token, **usual, **given}


def mute(expert: Visitor, **given: object) -> requests.Response:
    return expert.post("/cr/mutes/", form(expert, **given))


def live_page(url: str) -> str:
    return Visitor(url).get("/").text


def test_it_tells_everybody_who_muted_what_why_and_until_when(url: str, expert: Visitor) -> None:
    assert "2 problems" in live_page(url)
    assert mute(expert).status_code == 303
    page = live_page(url)
    assert f"muted by {USER} until" in page
    assert REASON in page
    assert "1 problem" in page
    assert "1 more muted" in page
    assert f"muted by {USER} until" in page.partition('id="elog"')[2].partition("</pre>")[0]


def test_it_ends_when_an_expert_says_so(url: str, expert: Visitor) -> None:
    mute(expert)
    ended = expert.post("/cr/mutes/end", form(expert))
    assert ended.status_code == 303
    assert "muted by" not in live_page(url)
    assert expert.post("/cr/mutes/end", form(expert)).status_code == 404


def test_it_ends_by_itself(url: str, expert: Visitor, settings: Settings) -> None:
    mute(expert, hours=1)
    assert "muted by" in live_page(url)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        ends_at = connection.execute(sa.select(db.mutes.c.ends_at)).scalar_one()
        assert abs(ends_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
        # Told as any change is: a page does not look for what nobody tells it.
        connection.execute(sa.update(db.mutes).values(ends_at=sa.func.now()))
        connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, "mutes")))
    database.dispose()
    until(lambda: "muted by" not in live_page(url), within_s=5)


def test_it_is_one_a_client(url: str, expert: Visitor) -> None:
    mute(expert)
    mute(expert, reason="its geometry is wrong")
    page = live_page(url)
    assert "its geometry is wrong" in page
    assert REASON not in page


def test_it_is_one_a_client_however_many_experts_mute_it_at_once(settings: Settings) -> None:
    experts, clients = 8, [f"client_{number}" for number in range(5)]
    database = db.engine(settings, Cluster.PRODUCTION, "tests", pool_size=experts)
    begin_together = Barrier(experts)

    def mute_too(number: int) -> None:
        for client in clients:
            begin_together.wait()
            MuteWriter(database).mute(client, REASON, f"expert {number}", timedelta(hours=1))

    with ThreadPoolExecutor(experts) as pool:
        list(pool.map(mute_too, range(experts)))
    assert sorted(mute.client for mute in MuteReader(database).mutes()) == clients
    database.dispose()


def test_it_is_of_its_cluster_alone(url: str, expert: Visitor, settings: Settings) -> None:
    _write_run(MirroredCluster(settings, Cluster.PLAYBACK))
    mute(expert)
    assert "muted by" not in Visitor(url).get("/?db=playback").text


def test_it_tells_all_servers_at_once(expert: Visitor, settings: Settings) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with closing(database.raw_connection()) as heard:
        heard.cursor().execute(f"LISTEN {db.CHANNEL}")
        heard.commit()
        mute(expert)
        driver: Any = heard.driver_connection
        driver.poll()
        assert len(driver.notifies) == 1
    database.dispose()


def test_it_stands_in_the_audit(expert: Visitor) -> None:
    mute(expert)
    expert.post("/cr/mutes/end", form(expert))
    ended, muted = expert.audit()[:2]
    assert (muted["command"], ended["command"]) == ("mute", "unmute")
    assert (muted["username"], muted["outcome"], muted["cluster"]) == (USER, Outcome.OK, "production")
    assert muted["parameters"] == f"client={CRASHED} hours=8 reason={REASON}"
    assert expert.audit(command="unmute") == [ended]


def test_it_refuses_what_it_does_not_offer(url: str, expert: Visitor) -> None:
    answers = {str(given)[:40]: mute(expert, **given).status_code for given in NOT_OFFERED}
    assert {given for given, status in answers.items() if status != 400} == set()
    refused = [entry for entry in expert.audit(command="mute") if entry["outcome"] == Outcome.REFUSED]
    assert len(refused) == len(NOT_OFFERED)
    assert "muted by" not in live_page(url)


def test_it_takes_an_experts_word_alone(url: str, expert: Visitor) -> None:
    stranger = Visitor(url)
    assert stranger.get("/cr/mutes/").headers["Location"] == "/cr/login/?to=mutes"
    assert stranger.post("/cr/mutes/", form(expert)).status_code == 401
    assert stranger.post("/cr/mutes/end", form(expert)).status_code == 401
    assert mute(expert, csrf_token="").status_code == 403
    assert expert.get("/cr/mutes/end", params=form(expert)).status_code == 405
    foreign = expert.post("/cr/mutes/", form(expert), headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "muted by" not in live_page(url)


def test_it_lets_no_name_of_a_machine_out(url: str, expert: Visitor) -> None:
    mute(expert, reason="dqmfu-c2b03-45-01.cms is broken, see fu-c2f11-11-01")
    page = live_page(url)
    assert "[host] is broken, see [host]" in page
    assert "45-01" not in page
    assert "45-01" not in expert.get("/cr/mutes/").text


def test_it_shows_markup_as_text(url: str, expert: Visitor) -> None:
    mute(expert, reason="<script>alert(1)</script>")
    for page in (live_page(url), expert.get("/cr/mutes/").text):
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


@pytest.fixture
def without_control_room(settings: Settings) -> Iterator[Callable[[str], requests.Response]]:
    with served(replace(settings, cr_enabled=False)) as url:
        yield Visitor(url).get


def test_it_stays_where_there_is_no_control_room(
    expert: Visitor, without_control_room: Callable[[str], requests.Response]
) -> None:
    mute(expert)
    page = without_control_room("/").text
    assert REASON in page
    [job, *_] = re.findall(r'data-job="([^"]+)"', page)
    opened = without_control_room(f"/?job={job}").text
    assert "In earlier runs" in opened
    assert "/cr/" not in opened
    assert without_control_room("/cr/mutes/").status_code == 404
