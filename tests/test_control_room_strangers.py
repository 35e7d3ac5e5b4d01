"""What somebody without a session is refused stands in the audit too, and can't fill it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Settings
from storage.audit_log import Outcome
from tests.control_room import UNIT, USER, Visitor, playback_database, served
from tests.log_files import read_log

CROSS_SITE = "This request was started by a page of another site."
FORGED = "The identity headers of this request are not signed by the front end."
WRONG = "Wrong name or password."


@pytest.fixture
def guarded(settings: Settings, tmp_path: Path) -> Settings:
    """Behind CMSWEB, and behind a proxy that tells for whom it asks."""
    key = tmp_path / "header-auth-key"
    key.write_bytes(b"a key of the front end")
    return replace(settings, cmsweb_hmac_path=key, trusted_proxies=(ip_network("127.0.0.0/8"),))


@pytest.fixture
def url(guarded: Settings) -> Iterator[str]:
    with served(guarded) as url:
        yield url


def at(url: str, address: str = "192.0.2.1", **headers: str) -> Visitor:
    return Visitor(url, X_Forwarded_For=address, **headers)


def told(url: str) -> list[dict[str, str]]:
    return Visitor(url).sign_in().audit(outcome="refused")


def insert_strangers(settings: Settings, number: int) -> None:
    """Refusals of an hour ago; of this minute they would be too many to tell one more apart."""
    one = sa.func.generate_series(1, number).column_valued("one")
    row: dict[str, sa.ColumnElement[Any]] = {
        "received_at": sa.func.now() - sa.literal(timedelta(hours=1)),
        "command": sa.literal("page"),
        "is_change": sa.literal(False),  # noqa: FBT003 - a column's value
        "parameters": sa.cast("{}", sa.JSON),
        "outcome": sa.literal(Outcome.REFUSED),
        "group_key": sa.func.decode(sa.func.md5(sa.cast(one, sa.Text)), "hex"),
    }
    statement = sa.insert(db.audit_log).from_select(list(row), sa.select(*row.values()))
    engine = playback_database(settings)
    with engine.begin() as connection:
        connection.execute(statement)
    engine.dispose()


def count_refusals(settings: Settings) -> int:
    refused = sa.select(sa.func.count()).where(db.audit_log.c.outcome == Outcome.REFUSED)
    engine = playback_database(settings)
    with engine.connect() as connection:
        number = connection.execute(refused).scalar_one()
    engine.dispose()
    return number


def test_it_writes_down_every_refusal_of_a_stranger(url: str) -> None:
    stranger = at(url)
    stranger.ask("get_hltd_logs", host=UNIT)
    stranger.post("/cr/exe", {"what": "restart_hltd", "host": UNIT})
    stranger.ask("anything;reboot")
    stranger.get("/cr/queue")
    stranger.try_password(headers={"Origin": "https://evil.example"})
    stranger.try_password("my-password-in-the-wrong-field", "wrong")
    for _ in range(4):
        stranger.try_password(USER, "wrong")
    stranger.get("/cr/", headers={"cms-authn-login": "admin"})
    stranger.post("/cr/login/", b"username=" + b"a" * 70_000)
    refused = {(entry["command"], entry["username"], entry["message"]) for entry in told(url)}
    assert refused == {
        ("get_hltd_logs", "", "Sign in first."),
        ("restart_hltd", "", "Sign in first."),
        ("unknown", "", "Sign in first."),
        ("page", "", "Sign in first."),
        ("sign_in", "", CROSS_SITE),
        ("sign_in", "", WRONG),
        ("sign_in", USER, WRONG),
        ("sign_in", USER, "Too many failed attempts."),
        ("page", "", FORGED),
        ("sign_in", "", "The data value transmitted exceeds the capacity limit."),
    }
    [mark] = {entry["address"] for entry in told(url)}
    assert len(mark) == 8


def test_it_tells_repeated_refusals_together(url: str) -> None:
    for _ in range(15):
        at(url).ask("get_dqm_machines")
        at(url, "192.0.2.2").ask("get_dqm_machines")
    entries = told(url)
    assert sum(int(entry["occurrences"]) for entry in entries) == 30
    assert len({entry["address"] for entry in entries}) == 2
    # More than one of each only if a minute ended meanwhile.
    assert len(entries) <= 4


def test_it_is_bounded_however_many_addresses_knock(url: str) -> None:
    for number in range(50):
        at(url, f"198.51.100.{number}").ask("get_dqm_machines")
    entries = told(url)
    assert sum(int(entry["occurrences"]) for entry in entries) == 50
    assert len(entries) < 50
    shared = [entry for entry in entries if not entry["address"]]
    assert shared
    assert {entry["username"] for entry in shared} == {""}


def test_it_keeps_the_newest_of_many_and_all_that_experts_did(url: str, guarded: Settings) -> None:
    expert = at(url).sign_in()
    insert_strangers(guarded, 10_050)
    at(url).ask("get_dqm_machines")
    assert count_refusals(guarded) == 10_000
    assert len(expert.audit(outcome="refused", command="get_dqm_machines")) == 1
    assert [entry["command"] for entry in expert.audit(outcome="ok")] == ["sign_in"]


def test_it_counts_them_beside_what_was_done_in_the_last_hour(url: str) -> None:
    for _ in range(3):
        at(url).ask("get_dqm_machines")
    part = Visitor(url).sign_in().get("/cr/queue").text
    assert "Requests refused without a session: 3." in part
    assert "get_dqm_machines" not in part


def test_it_shows_how_often_and_which_are_the_same_address(url: str) -> None:
    for _ in range(3):
        at(url).ask("get_dqm_machines")
    expert = at(url).sign_in()
    marks = {entry["address"] for entry in expert.audit(outcome="refused")}
    page = expert.get("/cr/audit/").text
    assert all(f"at {mark}" in page for mark in marks)
    assert "192.0.2.1" not in page


def test_it_tells_the_log_alone_while_the_audit_can_t_be_written(guarded: Settings) -> None:
    with served(replace(guarded, postgres_port=1)) as url:
        assert at(url).ask("get_dqm_machines").status_code == 401
        assert at(url).get("/cr/", headers={"cms-authn-login": "admin"}).status_code == 403
        # Whether a password may be tried is written down as well: none is, then.
        assert at(url).try_password().status_code == 503
    logged = read_log(guarded, "server")
    assert 'audit_write_failed command=get_dqm_machines outcome=refused reason="Sign in first."' in logged
