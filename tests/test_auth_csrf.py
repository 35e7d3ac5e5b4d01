"""Cross-site request forgery is rejected, including requests that only read."""

from dataclasses import replace

from dqmsquare_cfg import Settings
from simulator.simulator import Simulator
from storage.audit_log import Outcome
from tests.control_room import UNIT, USER, Visitor, commands_sent
from tests.served import served
from tests.waiting import TIMEOUT_S

CROSS_SITE_HEADERS = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://["},
)


def test_it_rejects_a_post_without_the_session_s_token(visitor: Visitor, simulator: Simulator) -> None:
    another = Visitor(visitor.url).sign_in().token
    for token in (
        "",
        another,
        visitor.token[:-1],
        visitor.token + "0",
        visitor.token.upper(),
        "\xe9",
        "0" * 64,
    ):
        response = visitor.post_command_with({"X-CSRF-Token": token}, "restart_hltd", host=UNIT)
        assert response.status_code == 403
    assert visitor.post("/cr/exe", {"what": "restart_hltd", "host": UNIT}).status_code == 403
    assert visitor.post("/cr/exe", {"what": "get_dqm_machines"}).status_code == 403
    assert commands_sent(simulator) == []
    refused = visitor.audit(outcome=Outcome.REFUSED)
    assert [entry["command"] for entry in refused] == ["get_dqm_machines"] + ["restart_hltd"] * 8
    assert {(entry["username"], entry["sent_at"]) for entry in refused} == {(USER, "")}


def test_it_ignores_tokens_in_cookies_and_urls(visitor: Visitor, simulator: Simulator) -> None:
    form = {"what": "restart_hltd", "host": UNIT}
    visitor.http.cookies.set("csrf_token", visitor.token)
    assert visitor.post(f"/cr/exe?csrf_token={visitor.token}", form).status_code == 403
    assert visitor.post("/cr/exe", {**form, "csrf_token": visitor.token}).status_code == 400
    assert commands_sent(simulator) == []


def test_it_rejects_cross_site_requests(visitor: Visitor, simulator: Simulator) -> None:
    similar_name = {"Origin": visitor.url.replace("//", "//evil-")}
    for headers in (*CROSS_SITE_HEADERS, similar_name):
        assert visitor.post_command_with(headers, "restart_hltd", host=UNIT).status_code == 403
        assert visitor.get("/cr/exe?what=get_dqm_machines", headers=headers).status_code == 403
        assert visitor.post("/cr/logout/", {"csrf_token": visitor.token}, headers=headers).status_code == 403
        assert Visitor(visitor.url).submit_password(headers=headers).status_code == 403
    assert visitor.is_signed_in()
    assert commands_sent(simulator) == []


def test_it_accepts_requests_of_its_own_pages_and_of_scripts(visitor: Visitor) -> None:
    own = visitor.url
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": own}, {}):
        assert visitor.post_command_with(headers, "get_simulator_run_keys").status_code == 200
    # A front end may rewrite Host, so the browser's own statement counts.
    rewritten = {"Sec-Fetch-Site": "same-origin", "Origin": "https://cmsweb.cern.ch"}
    assert visitor.post_command_with(rewritten, "get_simulator_run_keys").status_code == 200


def test_it_accepts_its_public_origin_behind_a_front_end_that_rewrites_headers(
    simulated_settings: Settings,
) -> None:
    public = "https://cmsweb.cern.ch"
    rewritten = {"Host": "dqm-square-k8.dqm.svc:8084", "Referer": "https://x509-proxy-server-0"}
    with served(replace(simulated_settings, public_origin=public)) as url:
        visitor = Visitor(url, **rewritten).sign_in()
        for headers in ({"Origin": public}, {"Sec-Fetch-Site": "same-origin", "Origin": public}, {}):
            assert visitor.post_command_with(headers, "get_simulator_run_keys").status_code == 200
            assert Visitor(url, **rewritten).submit_password(headers=headers).status_code == 302
        for origin in ("https://cmsweb.cern.ch.evil.example", "http://cmsweb.cern.ch", "null"):
            response = visitor.post_command_with({"Origin": origin}, "get_simulator_run_keys")
            assert response.status_code == 403
        without_token = {"Origin": public, "X-CSRF-Token": ""}
        assert visitor.post_command_with(without_token, "get_simulator_run_keys").status_code == 403


def test_it_requires_its_own_token_to_sign_out(visitor: Visitor, url: str) -> None:
    another = Visitor(url).sign_in().token
    for form in ({}, {"csrf_token": ""}, {"csrf_token": another}):
        assert visitor.post("/cr/logout/", form).status_code == 403
    assert visitor.is_signed_in()


def test_it_changes_nothing_by_get(visitor: Visitor, simulator: Simulator) -> None:
    changes = {
        "start_playback_run": {"run_number": "run256936", "run_key": "pp_run", "number_of_ls": "10"},
        "restart_hltd": {"host": UNIT},
        "restart_fff": {"host": UNIT},
        "change_dqm_client": {"host": UNIT, "playback": "1", "client": "a_cfg.py", "state": "0"},
        "copy_production_runs": {"run_number": "run1", "number_of_ls": "10"},
    }
    for what, parameters in changes.items():
        response = visitor.get_command(what, **parameters)
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
        assert (
            visitor.http.head(f"{visitor.url}/cr/exe", params={"what": what, **parameters}).status_code == 405
        )
    assert commands_sent(simulator) == []
    for method in ("PUT", "DELETE", "PATCH"):
        response = visitor.http.request(
            method, f"{visitor.url}/cr/exe", data={"what": "restart_hltd"}, timeout=TIMEOUT_S
        )
        assert response.status_code == 405
