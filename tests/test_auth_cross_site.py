"""What another site makes a browser send to the Control Room is refused, and what only looks harmless too."""

from collections.abc import Iterator

import pytest

from dqmsquare_cfg import Settings
from simulator.simulator import Simulator
from storage.audit_log import Outcome
from tests.control_room import UNIT, USER, Visitor, commands_sent, served

ELSEWHERE = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://["},
)


@pytest.fixture
def url(simulated_settings: Settings) -> Iterator[str]:
    with served(simulated_settings) as url:
        yield url


@pytest.fixture
def visitor(url: str) -> Visitor:
    return Visitor(url).sign_in()


def test_it_refuses_a_post_without_the_session_s_token(
    visitor: Visitor, url: str, simulator: Simulator
) -> None:
    another = Visitor(url).sign_in().token
    for token in (
        "",
        another,
        visitor.token[:-1],
        visitor.token + "0",
        visitor.token.upper(),
        "\xe9",
        "0" * 64,
    ):
        answer = visitor.tell_with({"X-CSRF-Token": token}, "restart_hltd", host=UNIT)
        assert answer.status_code == 403
    assert visitor.post("/cr/exe", {"what": "restart_hltd", "host": UNIT}).status_code == 403
    assert visitor.post("/cr/exe", {"what": "get_dqm_machines"}).status_code == 403
    assert commands_sent(simulator) == []
    refused = visitor.audit(outcome=Outcome.REFUSED)
    assert [entry["command"] for entry in refused] == ["get_dqm_machines"] + ["restart_hltd"] * 8
    assert {(entry["username"], entry["sent_at"]) for entry in refused} == {(USER, "")}


def test_it_takes_the_token_from_no_cookie_and_no_address(visitor: Visitor, simulator: Simulator) -> None:
    form = {"what": "restart_hltd", "host": UNIT}
    visitor.http.cookies.set("csrf_token", visitor.token)
    assert visitor.post(f"/cr/exe?csrf_token={visitor.token}", form).status_code == 403
    assert visitor.post("/cr/exe", {**form, "csrf_token": visitor.token}).status_code == 400
    assert commands_sent(simulator) == []


def test_it_refuses_what_began_on_another_site(visitor: Visitor, simulator: Simulator) -> None:
    of_like_name = {"Origin": visitor.url.replace("//", "//evil-")}
    for headers in (*ELSEWHERE, of_like_name):
        assert visitor.tell_with(headers, "restart_hltd", host=UNIT).status_code == 403
        assert visitor.get("/cr/exe?what=get_dqm_machines", headers=headers).status_code == 403
        assert visitor.post("/cr/logout/", {"csrf_token": visitor.token}, headers=headers).status_code == 403
        assert Visitor(visitor.url).try_password(headers=headers).status_code == 403
    assert visitor.is_in()
    assert commands_sent(simulator) == []


def test_it_takes_what_began_on_its_own_page_or_by_hand(visitor: Visitor) -> None:
    own = visitor.url
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": own}, {}):
        assert visitor.tell_with(headers, "get_simulator_run_keys").status_code == 200
    # Behind a front end that changes the host, the browser's own word counts.
    rewritten = {"Sec-Fetch-Site": "same-origin", "Origin": "https://cmsweb.cern.ch"}
    assert visitor.tell_with(rewritten, "get_simulator_run_keys").status_code == 200


def test_it_takes_no_token_to_sign_out_but_its_own(visitor: Visitor, url: str) -> None:
    another = Visitor(url).sign_in().token
    for form in ({}, {"csrf_token": ""}, {"csrf_token": another}):
        assert visitor.post("/cr/logout/", form).status_code == 403
    assert visitor.is_in()


def test_it_changes_nothing_by_get(visitor: Visitor, simulator: Simulator) -> None:
    changes = {
        "start_playback_run": {"run_number": "run256936", "run_key": "pp_run", "number_of_ls": "10"},
        "restart_hltd": {"host": UNIT},
        "restart_fff": {"host": UNIT},
        "change_dqm_client": {"host": UNIT, "playback": "1", "client": "a_cfg.py", "state": "0"},
        "copy_production_runs": {"run_number": "run1", "number_of_ls": "10"},
    }
    for what, parameters in changes.items():
        answer = visitor.ask(what, **parameters)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
        assert (
            visitor.http.head(f"{visitor.url}/cr/exe", params={"what": what, **parameters}).status_code == 405
        )
    assert commands_sent(simulator) == []
    for method in ("PUT", "DELETE", "PATCH"):
        answer = visitor.http.request(
            method, f"{visitor.url}/cr/exe", data={"what": "restart_hltd"}, timeout=60
        )
        assert answer.status_code == 405
