"""Identity by CMSWEB's front end: trusted only with a valid signature."""

import hashlib
import hmac
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import dqmsquare_cfg
from dqmsquare_cfg import Settings
from tests import fork_server
from tests.cmsweb import KEY, LOGIN, go_headers, perl_headers, sign
from tests.control_room import PASSWORD, USER, Visitor
from tests.examples import core_of
from tests.served import served, server_process
from tests.waiting import TIMEOUT_S

# The signed headers of the Perl front end, before they are signed.
HEADERS = {name: value for name, value in perl_headers().items() if name != "cms-authn-hmac"}


def signed(headers: Mapping[str, str] = HEADERS, key: bytes = KEY) -> dict[str, str]:
    return {**headers, "cms-authn-hmac": sign(headers, key)}


def coming_with(url: str, headers: Mapping[str, str]) -> Visitor:
    visitor = Visitor(url)
    visitor.http.headers.update(headers)
    return visitor


@pytest.fixture
def behind_cmsweb(settings: Settings, tmp_path: Path) -> Settings:
    """Settings behind CMSWEB, with one allowed login."""
    path = tmp_path / "header-auth-key"
    path.write_bytes(KEY)
    return replace(settings, cmsweb_hmac_path=path, cr_allowed_logins=(LOGIN,))


@pytest.fixture
def url(behind_cmsweb: Settings) -> Iterator[str]:
    """The URL of a server with `behind_cmsweb`."""
    with served(behind_cmsweb) as url:
        yield url


def test_it_admits_an_allowed_login_without_a_password(url: str) -> None:
    visitor = coming_with(url, signed())
    assert visitor.get("/cr/login/").headers["Location"] == "/cr/"
    assert visitor.get("/cr/").headers["Location"] == "/cr/"
    visitor.load_token()
    assert visitor.post_command("get_simulator_run_keys").status_code == 200
    [command, sign_in] = visitor.audit()
    assert (command["username"], command["cmsweb_login"]) == (LOGIN, LOGIN)
    assert (sign_in["username"], sign_in["command"]) == (LOGIN, "sign_in")


def test_it_requires_a_password_of_other_logins_and_records_both(behind_cmsweb: Settings) -> None:
    with served(replace(behind_cmsweb, cr_allowed_logins=())) as url:
        visitor = coming_with(url, signed())
        assert visitor.get("/cr/").headers["Location"] == "/cr/login/"
        assert LOGIN in visitor.get("/cr/login/").text
        visitor.sign_in()
        assert (visitor.audit()[0]["username"], visitor.audit()[0]["cmsweb_login"]) == (USER, LOGIN)


def test_it_accepts_a_password_without_the_front_end(url: str) -> None:
    assert Visitor(url).sign_in().is_signed_in()


def test_it_binds_a_session_to_one_login(behind_cmsweb: Settings) -> None:
    other = signed({**HEADERS, "cms-authn-login": "somebody"})
    with served(behind_cmsweb) as url:
        visitor = coming_with(url, signed())
        visitor.get("/cr/")
        assert visitor.is_signed_in()
        visitor.http.headers.update(other)
        assert not visitor.is_signed_in()
        for name in other:
            del visitor.http.headers[name]
        assert not visitor.is_signed_in()


def test_it_ends_a_session_when_its_login_is_no_longer_allowed(behind_cmsweb: Settings) -> None:
    with served(behind_cmsweb) as url:
        visitor = coming_with(url, signed())
        visitor.get("/cr/")
        assert visitor.is_signed_in()
    with served(replace(behind_cmsweb, cr_allowed_logins=())) as url:
        visitor.url = url
        assert not visitor.is_signed_in()


def test_it_rejects_headers_that_the_front_end_did_not_sign(url: str) -> None:
    good = signed()
    forged = {
        "no signature": HEADERS,
        "an empty one": {**HEADERS, "cms-authn-hmac": ""},
        "another key's": signed(key=b"guessed"),
        "a truncated one": {**good, "cms-authn-hmac": good["cms-authn-hmac"][:-1]},
        "a longer one": {**good, "cms-authn-hmac": good["cms-authn-hmac"] + "0"},
        "in capitals": {**good, "cms-authn-hmac": good["cms-authn-hmac"].upper()},
        "of SHA-256": {**good, "cms-authn-hmac": hmac.new(KEY, b"#", hashlib.sha256).hexdigest()},
        "no ASCII": {**good, "cms-authn-hmac": "\xe9"},
        "of another login": {**good, "cms-authn-login": "admin"},
        "of another name": {**good, "cms-authn-name": "Somebody"},
        "of more": {**good, "cms-authz-admin": "group:all"},
        "of less": {name: value for name, value in good.items() if name != "cms-authn-dn"},
        "moved between name and value": {
            **{name: value for name, value in good.items() if name != "cms-authn-login"},
            "cms-authn-loginm": LOGIN[1:],
        },
        "a signature alone": {"cms-authn-hmac": good["cms-authn-hmac"]},
        "a login alone": {"cms-authn-login": LOGIN},
        "roles alone": {"cms-authz-dqm-operator": "group:dqm"},
    }
    for what, headers in forged.items():
        visitor = coming_with(url, headers)
        for path in ("/cr/", "/cr/login/", "/cr/exe?what=get_simulator_run_keys", "/cr/queue", "/cr/audit/"):
            assert visitor.get(path).status_code == 403, (what, path)
        assert visitor.submit_password(password="wrong").status_code == 403, what
    # None of these counted as a login attempt.
    assert Visitor(url).submit_password(password="wrong").status_code == 401


def test_it_accepts_header_names_in_any_case(url: str) -> None:
    visitor = coming_with(url, {name.title(): value for name, value in signed().items()})
    visitor.get("/cr/")
    assert visitor.is_signed_in()


def test_it_accepts_names_in_any_alphabet(url: str) -> None:
    # Header values are UTF-8 bytes and signed as such.
    name = "J\u00f6rg \u5f20".encode().decode("latin-1")
    visitor = coming_with(url, signed({**HEADERS, "cms-authn-name": name}))
    visitor.get("/cr/")
    assert visitor.is_signed_in()


def test_it_trusts_a_login_with_any_status_but_none(url: str) -> None:
    for status in ("OK", "ok"):
        visitor = coming_with(url, signed({**HEADERS, "cms-auth-status": status}))
        assert visitor.get("/cr/").headers["Location"] == "/cr/"
        assert visitor.is_signed_in()
    without = {name: value for name, value in signed().items() if name != "cms-auth-status"}
    for headers in (without, *({**without, "cms-auth-status": status} for status in ("NONE", ""))):
        assert coming_with(url, headers).get("/cr/").headers["Location"] == "/cr/login/"


def test_it_admits_visitors_of_the_go_front_end(url: str) -> None:
    many_roles = {f"role-{number}": "group:dqm" for number in range(15)}
    names = [name.encode().decode("latin-1") for name in ("Jane Doe", "J\u00f6rg \u5f20", "")]
    for headers in (*(go_headers(name=name) for name in names), go_headers(roles=many_roles)):
        visitor = coming_with(url, headers)
        visitor.get("/cr/")
        visitor.load_token()
        assert visitor.post_command("get_simulator_run_keys").status_code == 200
        assert visitor.audit()[0]["cmsweb_login"] == LOGIN


def test_it_admits_visitors_of_the_perl_front_end(url: str) -> None:
    for method in ("X509Cert", "X509Proxy"):
        visitor = coming_with(url, perl_headers(method=method))
        visitor.get("/cr/")
        assert visitor.is_signed_in()


def test_it_shows_the_login_page_to_anonymous_visitors_of_the_perl_front_end(url: str) -> None:
    visitor = coming_with(url, perl_headers(login=None))
    assert visitor.get("/cr/").headers["Location"] == "/cr/login/"
    assert visitor.sign_in().audit()[0]["cmsweb_login"] == ""


def test_it_requires_a_password_without_a_verified_certificate(url: str) -> None:
    for method in ("oauth", "X509LimitedProxy", "HostIP", "AUCookie", "None", ""):
        for headers in (perl_headers(method=method), go_headers(method=method)):
            visitor = coming_with(url, headers)
            assert visitor.get("/cr/").headers["Location"] == "/cr/login/", method
            assert LOGIN not in visitor.get("/cr/login/").text
            assert visitor.sign_in().audit()[0]["cmsweb_login"] == ""


def test_it_does_not_trust_a_login_that_a_client_sent_with_a_token(url: str) -> None:
    """The Go front end signs the client's own login if the token names none."""
    headers = go_headers(login=None, method="oauth", sent={"cms-authn-login": LOGIN, "cms-authz-admin": "x"})
    assert headers["Cms-Authn-Login"] == LOGIN
    assert coming_with(url, headers).get("/cr/").headers["Location"] == "/cr/login/"


def test_it_ignores_a_login_that_a_client_sent_with_a_certificate(behind_cmsweb: Settings) -> None:
    sent = {"Cms-Authn-Login": "admin", "Cms-Authz-Dqm-Admin": "group:all"}
    with served(replace(behind_cmsweb, cr_allowed_logins=("admin",))) as url:
        visitor = coming_with(url, go_headers(sent=sent))
        assert visitor.get("/cr/").headers["Location"] == "/cr/login/"
        assert visitor.sign_in().audit()[0]["cmsweb_login"] == LOGIN


def test_it_rejects_a_header_that_is_given_twice(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "header-auth-key"
    path.write_bytes(KEY)
    behind = {**environment, "CMSWEB_HMAC_PATH": str(path), "CR_ALLOWED_LOGINS": LOGIN}
    with server_process(behind) as server:
        address = urlsplit(server.url)
        for doubled in ("cms-authn-login", "cms-authn-hmac", "CMS-AUTHN-Login", "cms_authn_login"):
            lines = [f"{name}: {value}" for name, value in signed().items()]
            request = "\r\n".join(["GET /cr/ HTTP/1.0", *lines, f"{doubled}: admin", "", ""])
            with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_S) as connection:
                connection.sendall(request.encode())
                response = connection.makefile("rb").read()
            # Names with underscores are dropped, so that they can't pass for names with hyphens.
            expected = b" 302 " if "_" in doubled else b" 403 "
            assert expected in response.partition(b"\r\n")[0], doubled


def test_it_ignores_identity_headers_if_no_key_is_configured(settings: Settings) -> None:
    with served(settings) as url:
        visitor = coming_with(url, HEADERS)
        assert visitor.get("/cr/").headers["Location"] == "/cr/login/"
        visitor.sign_in()
        assert visitor.audit()[0]["cmsweb_login"] == ""


def test_it_rejects_identity_headers_while_the_key_is_unreadable(behind_cmsweb: Settings) -> None:
    path = behind_cmsweb.cmsweb_hmac_path
    assert path is not None
    with served(behind_cmsweb) as url:
        for short in (b"", b"15 bytes, short"):
            path.write_bytes(short)
            assert coming_with(url, signed(key=short)).get("/cr/").status_code == 403
        path.unlink()
        assert coming_with(url, signed()).get("/cr/").status_code == 403
        path.write_bytes(b"a renewed key of 24 bytes")
        renewed = coming_with(url, signed(key=b"a renewed key of 24 bytes"))
        renewed.get("/cr/")
        assert renewed.is_signed_in()


@pytest.mark.parametrize("key", core_of([b"", b"15 bytes, short"], b"15 bytes, short"))
def test_it_does_not_start_with_a_short_key(environment: dict[str, str], tmp_path: Path, key: bytes) -> None:
    path = tmp_path / "header-auth-key"
    path.write_bytes(key)
    running = fork_server.start("server", (), {**environment, "CMSWEB_HMAC_PATH": str(path)})
    output, _ = running.communicate(TIMEOUT_S)
    assert running.wait() == 2
    assert output.splitlines() == [
        f"CMSWEB_HMAC_PATH names a key of {len(key)} bytes; accepted: at least 16 bytes"
    ]


def test_it_does_not_confuse_a_login_with_a_user_of_the_same_name(behind_cmsweb: Settings) -> None:
    with served(replace(behind_cmsweb, dqm_cr_usernames={LOGIN: PASSWORD}, cr_allowed_logins=())) as url:
        assert coming_with(url, signed()).get("/cr/").headers["Location"] == "/cr/login/"


def test_it_requires_a_key_for_allowed_logins(environment: dict[str, str]) -> None:
    with pytest.raises(dqmsquare_cfg.SettingsError) as caught:
        dqmsquare_cfg.load({**environment, "CR_ALLOWED_LOGINS": LOGIN})
    [line] = caught.value.lines
    assert line.startswith("CR_ALLOWED_LOGINS ")
    with pytest.raises(dqmsquare_cfg.SettingsError) as caught:
        dqmsquare_cfg.load({**environment, "CR_ALLOWED_LOGINS": "a b", "TRUSTED_PROXIES": "10.0.0.1/8"})
    assert [line.split()[0] for line in caught.value.lines] == ["CR_ALLOWED_LOGINS", "TRUSTED_PROXIES"]
