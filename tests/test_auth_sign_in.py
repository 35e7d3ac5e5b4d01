"""Signing in with a password, and the lifetime of sessions."""

import html
import re
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa
from itsdangerous import URLSafeSerializer, URLSafeTimedSerializer
from werkzeug.security import check_password_hash, generate_password_hash

import db
import dqmsquare_cfg
import server
from dqmsquare_cfg import Cluster, Settings
from storage.audit_log import Outcome
from tests.control_room import PASSWORD, USER, Visitor, execute_statement
from tests.log_files import read_log
from tests.served import served
from web.control_room.passwords import Passwords

COOKIE = "control_room"


def carrying(url: str, cookie: str) -> Visitor:
    visitor = Visitor(url)
    visitor.http.headers["Cookie"] = f"{COOKIE}={cookie}"
    return visitor


def altered(text: str) -> str:
    """Return the text with a different character in the middle."""
    middle = len(text) // 2
    return text[:middle] + ("B" if text[middle] == "A" else "A") + text[middle + 1 :]


def cookie_of(visitor: Visitor) -> str:
    cookie = visitor.http.cookies[COOKIE]
    assert isinstance(cookie, str)
    return cookie


def cookie_flags(response: requests.Response) -> dict[str, set[str]]:
    """Return the flags of each cookie that a response sets, by name."""
    cookies = [line.split("; ") for line in response.raw.headers.getlist("Set-Cookie")]
    return {pair.partition("=")[0]: set(flags) for pair, *flags in cookies}


def signed_by(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt="control room session")


def test_it_redirects_anonymous_visitors_to_the_login_page(url: str) -> None:
    response = Visitor(url).get("/cr/")
    assert (response.status_code, response.headers["Location"]) == (302, "/cr/login/")


def test_it_answers_scripts_without_a_session_with_401(url: str) -> None:
    for path in ("/cr/exe?what=get_dqm_machines", "/cr/queue", "/cr/audit.csv"):
        assert Visitor(url).get(path).status_code == 401
    assert Visitor(url).post("/cr/exe", {"what": "get_dqm_machines"}).status_code == 401


def test_it_accepts_the_right_password(settings: Settings) -> None:
    with served(settings, real_passwords=True) as url:
        visitor = Visitor(url)
        response = visitor.submit_password()
        assert (response.status_code, response.headers["Location"]) == (302, "/cr/")
        assert visitor.is_signed_in()
        assert visitor.get("/cr/login/").headers["Location"] == "/cr/"
        assert Visitor(url).submit_password(password="another").status_code == 401


def test_it_rejects_everything_else(url: str, settings: Settings) -> None:
    wrong = [
        (USER, "another"),
        (USER, ""),
        (USER, PASSWORD + " "),
        (USER, PASSWORD.upper()),
        (USER, "x" * 5000),
        (USER, "pässwörd\x00"),
        (USER.upper(), PASSWORD),
        ("", PASSWORD),
        ("nobody", PASSWORD),
        (f"{USER}:{PASSWORD}", PASSWORD),
    ]
    for user, password in wrong:
        visitor = Visitor(url)
        response = visitor.submit_password(user, password)
        assert response.status_code == 401
        assert "Wrong name or password." in response.text
        assert COOKIE not in visitor.http.cookies
        assert not visitor.is_signed_in()
        execute_statement(settings, sa.delete(db.login_attempts))


def test_it_does_not_truncate_long_passwords() -> None:
    longest = "x" * 1024
    passwords = Passwords({USER: generate_password_hash(longest, "pbkdf2:sha256:1")})
    assert passwords.verify(USER, longest)
    assert not passwords.verify(USER, longest + "x")


def test_it_rejects_a_form_without_its_fields(url: str) -> None:
    assert Visitor(url).post("/cr/login/", {}).status_code == 401
    assert Visitor(url).post("/cr/login/", json={"username": USER, "password": PASSWORD}).status_code == 401


def test_it_takes_as_long_for_an_unknown_user() -> None:
    cheap, dear = "pbkdf2:sha256:1", "pbkdf2:sha256:100000"
    users = {user: generate_password_hash(PASSWORD, method) for user, method in (("a", cheap), ("b", dear))}
    of_both, of_one = Passwords(users), Passwords({"a": users["a"]})

    def cost_s(passwords: Passwords, user: str) -> float:
        """Return the CPU time of this thread, which does not depend on the machine's load."""
        began_s = time.thread_time()
        assert not passwords.verify(user, "wrong")
        return time.thread_time() - began_s

    costs = [cost_s(of_both, user) for user in ("a", "b", "nobody")]
    assert min(costs) > max(costs) / 5
    assert cost_s(of_one, "nobody") < min(costs) / 5


def test_it_accepts_hashed_passwords(settings: Settings) -> None:
    methods = {USER: "scrypt:1024:8:1", "expert": "pbkdf2:sha256:1000"}
    hashed = {user: generate_password_hash(PASSWORD, method) for user, method in methods.items()}
    with served(replace(settings, dqm_cr_usernames=hashed)) as url:
        for user, kept in hashed.items():
            assert Visitor(url).submit_password(user, kept).status_code == 401
            assert Visitor(url).sign_in(user).is_signed_in()


def test_it_prints_a_hash_that_it_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(f"{PASSWORD}\n"))
    server.main(["hash-password"])
    made = capsys.readouterr().out.strip()
    assert check_password_hash(made, PASSWORD)
    environment = {
        "ENV_FILE": "",
        "TMP_DIR": str(tmp_path),
        "DQM_FFF_SECRET": "abc",
        "DQM_CR_USERNAMES": f"{USER}:{made},expert:other",
    }
    assert dqmsquare_cfg.load(environment).dqm_cr_usernames == {USER: made, "expert": "other"}


def test_it_does_not_hash_an_empty_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("\n"))
    with pytest.raises(SystemExit) as exited:
        server.main(["hash-password"])
    assert exited.value.code == 2
    assert "A password must have 1 to 1024 characters." in capsys.readouterr().err


def test_it_says_that_signing_in_is_disabled(settings: Settings) -> None:
    with served(replace(settings, dqm_cr_usernames={})) as url:
        assert "DQM_CR_USERNAMES" in Visitor(url).get("/cr/login/").text
        assert Visitor(url).submit_password().status_code == 401


def test_it_sets_cookies_that_scripts_can_t_read_and_other_sites_can_t_send(url: str) -> None:
    for flags in cookie_flags(Visitor(url).submit_password()).values():
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= flags
        assert "Secure" not in flags
    assert "Max-Age=43200" in cookie_flags(Visitor(url).submit_password())[COOKIE]


def test_it_restricts_cookies_to_its_prefix_and_to_tls_outside_development(settings: Settings) -> None:
    outside = replace(settings, env="testbed", server_url_prefix="/dqm/dqm-square")
    with served(outside) as url:
        response = Visitor(url).submit_password()
    assert response.headers["Location"] == "/dqm/dqm-square/cr/"
    for flags in cookie_flags(response).values():
        assert {"HttpOnly", "SameSite=Strict", "Path=/dqm/dqm-square", "Secure"} <= flags


def test_it_stores_nothing_that_could_sign_in(url: str, settings: Settings) -> None:
    visitor = Visitor(url).sign_in()
    engine = db.engine(settings, Cluster.PLAYBACK, "tests")
    with engine.connect() as connection:
        [row] = connection.execute(sa.select(db.login_sessions)).all()
    engine.dispose()
    word = signed_by(settings.session_secret).loads(cookie_of(visitor))
    kept = b"".join(bytes(value) for value in row if isinstance(value, bytes | memoryview))
    assert word.encode() not in kept
    assert PASSWORD.encode() not in kept


def test_it_ends_the_session_that_signs_out(url: str) -> None:
    leaving, staying = Visitor(url).sign_in(), Visitor(url).sign_in()
    cookie = cookie_of(leaving)
    response = leaving.post("/cr/logout/", {"csrf_token": leaving.token})
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    assert COOKIE not in leaving.http.cookies
    assert not leaving.is_signed_in()
    assert not carrying(url, cookie).is_signed_in()
    assert staying.is_signed_in()


def test_it_ends_every_session_of_a_user_on_request(settings: Settings) -> None:
    both = replace(settings, dqm_cr_usernames={USER: PASSWORD, "expert": "second"})
    with served(both) as url:
        leaving, elsewhere = Visitor(url).sign_in(), Visitor(url).sign_in()
        other = Visitor(url).sign_in("expert", "second")
        leaving.post("/cr/logout/", {"csrf_token": leaving.token, "everywhere": "1"})
        assert not elsewhere.is_signed_in()
        assert other.is_signed_in()


def test_it_signs_out_by_post_only(url: str) -> None:
    visitor = Visitor(url).sign_in()
    page = visitor.get("/cr/logout/")
    assert page.status_code == 200
    assert '<form method="post" action="/cr/logout/">' in page.text
    assert visitor.is_signed_in()
    token = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page.text)
    assert token is not None
    visitor.post("/cr/logout/", {"csrf_token": token[1]})
    assert not visitor.is_signed_in()


def test_it_offers_a_visitor_who_is_not_signed_in_to_sign_in(url: str) -> None:
    page = Visitor(url).get("/cr/logout/")
    assert page.status_code == 200
    assert 'href="/cr/login/"' in page.text
    assert "<form" not in page.text


def test_it_redirects_the_addresses_without_a_trailing_slash(url: str) -> None:
    for address in ("/cr", "/cr/login", "/cr/logout"):
        response = Visitor(url).get(address)
        assert (response.status_code, response.headers["Location"]) == (308, f"{address}/")


def test_it_accepts_a_sign_out_without_a_session(url: str) -> None:
    assert Visitor(url).post("/cr/logout/").headers["Location"] == "/"


def test_it_shares_sessions_between_servers(settings: Settings) -> None:
    with served(settings) as one, served(settings) as other:
        visitor = Visitor(one).sign_in()
        elsewhere = carrying(other, cookie_of(visitor))
        assert elsewhere.is_signed_in()
        visitor.post("/cr/logout/", {"csrf_token": visitor.token})
        assert not elsewhere.is_signed_in()


def test_it_ends_sessions_when_the_password_changes_or_the_user_is_removed(settings: Settings) -> None:
    with served(settings) as url:
        cookie = cookie_of(Visitor(url).sign_in())
    lists: list[dict[str, str]] = [{USER: "another password"}, {"expert": PASSWORD}, {}]
    for users in lists:
        with served(replace(settings, dqm_cr_usernames=users)) as url:
            assert not carrying(url, cookie).is_signed_in()
    with served(settings) as url:
        assert carrying(url, cookie).is_signed_in()


def test_it_ends_all_sessions_with_a_new_secret(settings: Settings) -> None:
    with served(settings) as url:
        cookie = cookie_of(Visitor(url).sign_in())
    with served(replace(settings, session_secret="another-secret-of-the-tests")) as url:
        assert not carrying(url, cookie).is_signed_in()


def test_it_ends_a_session_after_twelve_hours(url: str, settings: Settings) -> None:
    visitor = Visitor(url).sign_in()
    later = sa.update(db.login_sessions).values(
        expires_at=db.login_sessions.c.expires_at - sa.text("'12 h'::interval")
    )
    execute_statement(settings, later)
    assert not visitor.is_signed_in()


def test_it_uses_the_database_s_clock(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time
    for wrong_by_s in (-86_400, 2):
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda: right() + wrong_by_s)  # noqa: B023 - called right here
            cookie = cookie_of(Visitor(url).sign_in())
        assert carrying(url, cookie).is_signed_in(), wrong_by_s


def test_it_rejects_forged_cookies(url: str, settings: Settings) -> None:
    good = cookie_of(Visitor(url).sign_in())
    payload, signature = good.split(".")
    word = signed_by(settings.session_secret).loads(good)
    forged = [
        str(signed_by("a-guessed-secret").dumps(word)),
        str(signed_by(settings.session_secret).dumps("a word that is in no list")),
        # Signed for another purpose, or with content that is not a token.
        str(URLSafeTimedSerializer(settings.session_secret, salt="control room session").dumps(word)),
        str(URLSafeSerializer(settings.session_secret, salt="control room browser").dumps(word)),
        f"{altered(payload)}.{signature}",
        f"{payload}.{altered(signature)}",
        f"{payload}.{signature[:-2]}",
        f"{payload}.",
        f"{payload}",
        "",
        "....",
        "\N{SNOWMAN}".encode().decode("latin-1"),
        "x" * 4000,
    ]
    for cookie in forged:
        assert carrying(url, cookie).get("/cr/").status_code == 302, cookie
    assert carrying(url, good).is_signed_in()


def test_it_replaces_a_planted_session(url: str) -> None:
    planted = cookie_of(Visitor(url).sign_in())
    victim = carrying(url, planted)
    victim.submit_password()
    assert carrying(url, cookie_of(victim)).is_signed_in()
    assert not carrying(url, planted).is_signed_in()


def test_it_redirects_to_the_requested_page(url: str) -> None:
    for page in (
        "/cr/",
        "/cr/audit/?username=shifter",
        "/cr/mutes/?db=playback&run=358791&client=%22%26to%3D//evil.example",
    ):
        visitor = Visitor(url)
        way_in = visitor.get(page).headers["Location"]
        form = re.search(r'<form method="post" action="(.*)">', visitor.get(way_in).text)
        assert form is not None
        tried = {"username": USER, "password": "wrong"}
        assert form[0] in visitor.post(html.unescape(form[1]), tried).text
        response = visitor.post(html.unescape(form[1]), {"username": USER, "password": PASSWORD})
        assert response.headers["Location"] == page


def test_it_has_no_open_redirect(url: str) -> None:
    for elsewhere in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "live.page",
        "MUTES",
        "a\r\nb: c",
    ):
        form = {"username": USER, "password": PASSWORD, "next": elsewhere, "to": elsewhere}
        query = {"next": elsewhere, "to": elsewhere}
        response = Visitor(url).post("/cr/login/", form, params=query)
        assert response.headers["Location"] == "/cr/", query
    form = {"username": USER, "password": PASSWORD}
    for address in ("/cr/login/", "/cr/login/?to=&to=mutes&_external=1"):
        assert Visitor(url).post(address, form).headers["Location"] == "/cr/", address


def test_it_forbids_caching(url: str) -> None:
    visitor = Visitor(url).sign_in()
    for path in ("/cr/", "/cr/login/", "/cr/queue", "/cr/audit/", "/cr/audit.csv", "/cr/nothing", "/cr/exe"):
        assert visitor.get(path).headers["Cache-Control"] == "no-store", path
        assert Visitor(url).get(path).headers["Cache-Control"] == "no-store", path


def test_it_does_not_compress_pages_with_a_secret(url: str) -> None:
    page = Visitor(url).sign_in().get("/cr/", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in page.headers
    assert len(page.content) > 10_000


def test_it_is_absent_if_disabled(settings: Settings) -> None:
    with served(replace(settings, cr_enabled=False)) as url:
        for path in ("/cr/", "/cr/login/", "/cr/exe?what=get_dqm_machines", "/cr/audit/"):
            assert Visitor(url).get(path).status_code == 404
        assert 'href="/cr/"' not in Visitor(url).get("/").text
    with served(settings) as url:
        assert 'href="/cr/"' in Visitor(url).get("/").text


def test_it_records_sign_ins_but_no_unknown_names(url: str) -> None:
    Visitor(url).submit_password(USER, "wrong")
    Visitor(url).submit_password("my-password-in-the-wrong-field", "wrong")
    visitor = Visitor(url).sign_in()
    visitor.post("/cr/logout/", {"csrf_token": visitor.token})
    entries = [
        (entry["command"], entry["username"], entry["outcome"]) for entry in Visitor(url).sign_in().audit()
    ]
    assert entries == [
        ("sign_in", USER, Outcome.OK),
        ("sign_out", USER, Outcome.OK),
        ("sign_in", USER, Outcome.OK),
        ("sign_in", "", Outcome.REFUSED),
        ("sign_in", USER, Outcome.REFUSED),
    ]


def test_it_logs_no_password_and_no_cookie(url: str, settings: Settings) -> None:
    visitor = Visitor(url)
    visitor.submit_password(USER, "a-wrong-password-to-look-for")
    visitor.sign_in()
    logged = read_log(settings, "server")
    assert not re.search("a-wrong-password-to-look-for|" + re.escape(PASSWORD), logged)
    assert cookie_of(visitor) not in logged
