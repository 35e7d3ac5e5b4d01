"""Refusals of requests without a session are recorded, and bounded in number."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import db
from dqm2.commands import COMMANDS
from dqmsquare_cfg import Settings
from storage.audit_log import Outcome
from tests.control_room import (
    TRUSTED_PROXIES,
    UNIT,
    USER,
    Visitor,
    control_room_database,
    execute_statement,
    visitor_at,
)
from tests.log_files import read_log
from tests.served import served
from tests.waiting import until

CROSS_SITE = "This request was started by a page of another site."
FORGED = "The identity headers of this request are not signed by the front end."
WRONG = "Wrong name or password."


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings behind CMSWEB and a trusted proxy."""
    key = tmp_path / "header-auth-key"
    key.write_bytes(b"a key of the front end")
    return replace(settings, cmsweb_hmac_path=key, trusted_proxies=TRUSTED_PROXIES)


def refusals(url: str) -> list[dict[str, str]]:
    return Visitor(url).sign_in().audit(outcome="refused")


def insert_anonymous_refusals(settings: Settings, number: int) -> None:
    """Insert refusals of an hour ago, which do not count for this minute's limit."""
    one = sa.func.generate_series(1, number).column_valued("one")
    row: dict[str, sa.ColumnElement[Any]] = {
        "received_at": sa.func.now() - sa.literal(timedelta(hours=1)),
        "command": sa.literal("page"),
        "is_change": sa.literal(False),  # noqa: FBT003 - a column's value
        "parameters": sa.literal({}, sa.JSON),
        "outcome": sa.literal(Outcome.REFUSED),
        "group_key": sa.func.decode(sa.func.md5(sa.cast(one, sa.Text)), "hex"),
    }
    statement = sa.insert(db.audit_log).from_select(list(row), sa.select(*row.values()))
    execute_statement(settings, statement)


def count_refusals(settings: Settings) -> int:
    refused = sa.select(sa.func.count()).where(db.audit_log.c.outcome == Outcome.REFUSED)
    with control_room_database(settings).connect() as connection:
        return connection.execute(refused).scalar_one()


def test_it_records_every_anonymous_refusal(url: str) -> None:
    visitor = visitor_at(url)
    visitor.get_command("get_hltd_logs", host=UNIT)
    visitor.post("/cr/exe", {"what": "restart_hltd", "host": UNIT})
    visitor.get_command("anything;reboot")
    visitor.get("/cr/queue")
    visitor.submit_password(headers={"Origin": "https://evil.example"})
    visitor.submit_password("my-password-in-the-wrong-field", "wrong")
    # The delay after each failure doubles, so that even a slow attempt comes too early at last.
    until(lambda: visitor.submit_password(USER, "wrong").status_code == HTTPStatus.TOO_MANY_REQUESTS)
    visitor.get("/cr/", headers={"cms-authn-login": "admin"})
    visitor.post("/cr/login/", b"username=" + b"a" * 70_000)
    refused = {(entry["command"], entry["username"], entry["message"]) for entry in refusals(url)}
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
    [mark] = {entry["address"] for entry in refusals(url)}
    assert len(mark) == 8


def test_it_aggregates_repeated_refusals(url: str) -> None:
    for _ in range(15):
        visitor_at(url).get_command("get_dqm_machines")
        visitor_at(url, "192.0.2.2").get_command("get_dqm_machines")
    entries = refusals(url)
    assert sum(int(entry["occurrences"]) for entry in entries) == 30
    assert len({entry["address"] for entry in entries}) == 2
    # More than one of each only if a minute ended in between.
    assert len(entries) <= 4


def test_it_is_bounded_for_many_addresses(url: str) -> None:
    for number in range(50):
        visitor_at(url, f"198.51.100.{number}").get_command("get_dqm_machines")
    entries = refusals(url)
    assert sum(int(entry["occurrences"]) for entry in entries) == 50
    assert len(entries) < 50
    shared = [entry for entry in entries if not entry["address"]]
    assert shared
    assert {entry["username"] for entry in shared} == {""}


def test_it_records_a_failed_login_of_a_user_however_many_requests_were_refused(
    url: str, settings: Settings
) -> None:
    for number in range(25):
        visitor_at(url, f"198.51.100.{number}").get_command("get_dqm_machines")
    noisy = visitor_at(url)
    for command in COMMANDS:
        noisy.get_command(command)
    visitor_at(url, "192.0.2.2").submit_password(USER, "wrong")
    noisy.submit_password(USER, "wrong")
    failed = [entry for entry in refusals(url) if entry["username"] == USER]
    assert [entry["message"] for entry in failed] == [WRONG, WRONG]
    assert len({entry["address"] for entry in failed} - {""}) == 2
    insert_anonymous_refusals(settings, 10_050)
    visitor_at(url).get_command("get_dqm_machines")
    assert len([entry for entry in refusals(url) if entry["username"] == USER]) == 2


def test_it_counts_the_refusals_of_each_address(url: str) -> None:
    noisy, quiet = visitor_at(url), visitor_at(url, "192.0.2.2")
    for command in COMMANDS:
        noisy.get_command(command)
    quiet.get_command("get_dqm_machines")
    entries = refusals(url)
    by_address = Counter(entry["address"] for entry in entries)
    # The first ten kinds of the one address, the only one of the other; the rest share entries.
    assert sorted(count for address, count in by_address.items() if address)[-2:] == [1, 10]
    assert by_address[""] == len(COMMANDS) - 10


def test_it_keeps_the_newest_refusals_and_all_actions_of_experts(url: str, settings: Settings) -> None:
    expert = visitor_at(url).sign_in()
    insert_anonymous_refusals(settings, 10_050)
    visitor_at(url).get_command("get_dqm_machines")
    assert count_refusals(settings) == 10_000
    assert len(expert.audit(outcome="refused", command="get_dqm_machines")) == 1
    assert [entry["command"] for entry in expert.audit(outcome="ok")] == ["sign_in"]


def test_it_shows_the_number_of_refusals_in_the_last_hour(url: str) -> None:
    for _ in range(3):
        visitor_at(url).get_command("get_dqm_machines")
    fragment = Visitor(url).sign_in().get("/cr/queue").text
    assert "Requests refused without a session: 3." in fragment
    assert "get_dqm_machines" not in fragment


def test_it_shows_counts_and_marks_of_addresses(url: str) -> None:
    for _ in range(3):
        visitor_at(url).get_command("get_dqm_machines")
    expert = visitor_at(url).sign_in()
    marks = {entry["address"] for entry in expert.audit(outcome="refused")}
    page = expert.get("/cr/audit/").text
    assert all(f"at {mark}" in page for mark in marks)
    assert "192.0.2.1" not in page


def test_it_logs_refusals_while_the_audit_is_unavailable(settings: Settings) -> None:
    with served(replace(settings, postgres_port=1)) as url:
        assert visitor_at(url).get_command("get_dqm_machines").status_code == 401
        assert visitor_at(url).get("/cr/", headers={"cms-authn-login": "admin"}).status_code == 403
        # Attempts are counted in the same database, so none is accepted.
        assert visitor_at(url).submit_password().status_code == 503
    logged = read_log(settings, "server")
    assert 'audit_write_failed command=get_dqm_machines outcome=refused reason="Sign in first."' in logged
