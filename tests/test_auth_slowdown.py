"""Guessing passwords is slow, whichever server is asked; and nobody keeps anybody else out by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network

import pytest
import sqlalchemy as sa
from itsdangerous import URLSafeTimedSerializer

import db
from dqmsquare_cfg import Settings
from tests.control_room import PASSWORD, USER, Visitor, change, playback_database, served

OTHER_USER = "expert"
KNOWN = "control_room_browser"
A_DAY_S = 86_400
SLOWED = 429


@pytest.fixture
def behind_proxy(settings: Settings) -> Settings:
    """Servers that believe the tests' own address what it says of whom it forwards."""
    users = {USER: PASSWORD, OTHER_USER: PASSWORD}
    return replace(settings, dqm_cr_usernames=users, trusted_proxies=(ip_network("127.0.0.0/8"),))


@pytest.fixture
def url(behind_proxy: Settings) -> Iterator[str]:
    with served(behind_proxy) as url:
        yield url


def at(url: str, address: str = "192.0.2.1") -> Visitor:
    return Visitor(url, X_Forwarded_For=address)


def guess(visitor: Visitor, times: int, user: str = USER) -> list[int]:
    """The statuses of so many wrong tries, and of no more once one was slowed down."""
    statuses = []
    for number in range(times):
        statuses.append(visitor.try_password(user, f"wrong {number}").status_code)
        if statuses[-1] == SLOWED:
            break
    return statuses


def let_pass(settings: Settings, seconds: int) -> None:
    """Makes all failures so much older."""
    older = db.login_attempts.c.last_failed_at - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    change(settings, sa.update(db.login_attempts).values(last_failed_at=older))


@contextmanager
def just_failed(settings: Settings) -> Iterator[None]:
    """Whoever tries within does so at the moment of the failures, however slow the machine."""
    tries = db.login_attempts
    database = playback_database(settings)
    with database.connect() as connection:
        failed_at = connection.execute(sa.select(tries.c.id, tries.c.last_failed_at)).all()
    let_pass(settings, -A_DAY_S)
    yield
    with database.begin() as connection:
        for row in failed_at:
            connection.execute(
                sa.update(tries).where(tries.c.id == row.id).values(last_failed_at=row.last_failed_at)
            )
    database.dispose()


def is_slowed(settings: Settings, visitor: Visitor, user: str = USER) -> bool:
    """Whether a further try would have to wait now."""
    with just_failed(settings):
        return visitor.try_password(user, "wrong").status_code == SLOWED


def is_told_to_wait(settings: Settings, visitor: Visitor, seconds: int) -> bool:
    """Whether a try is told to wait so long."""
    with just_failed(settings):
        answer = visitor.try_password(USER, "wrong")
    return answer.headers["Retry-After"] == str(seconds) and f"Try again in {seconds} s." in answer.text


def test_it_slows_down_after_a_few_tries_and_says_for_how_long(url: str, behind_proxy: Settings) -> None:
    visitor = at(url)
    assert guess(visitor, 3) == [401, 401, 401]
    assert is_told_to_wait(behind_proxy, visitor, 1)


def test_it_waits_longer_with_each_failure_but_no_longer_than_half_a_minute(
    url: str, behind_proxy: Settings
) -> None:
    visitor = at(url)
    guess(visitor, 3)
    for seconds in (1, 2, 4, 8, 16, 30, 30, 30):
        assert is_told_to_wait(behind_proxy, visitor, seconds)
        let_pass(behind_proxy, 31)
        assert guess(visitor, 1) == [401]


def test_it_waits_no_longer_after_a_thousand_failures(url: str, behind_proxy: Settings) -> None:
    visitor = at(url)
    guess(visitor, 1)
    change(behind_proxy, sa.update(db.login_attempts).values(failures=1000))
    assert is_told_to_wait(behind_proxy, visitor, 30)


def test_it_slows_down_nobody_for_right_passwords(url: str) -> None:
    for _ in range(12):
        at(url).sign_in()
    assert at(url).try_password(OTHER_USER, "wrong").status_code == 401


def test_it_counts_no_try_that_comes_too_early(url: str, behind_proxy: Settings) -> None:
    visitor = at(url)
    guess(visitor, 3)
    for _ in range(20):
        assert is_slowed(behind_proxy, visitor)
    let_pass(behind_proxy, 1)
    assert visitor.try_password().status_code == 302


def test_it_does_not_look_at_a_right_password_that_comes_too_early(url: str, behind_proxy: Settings) -> None:
    visitor = at(url)
    guess(visitor, 3)
    with just_failed(behind_proxy):
        assert visitor.try_password().status_code == SLOWED
    assert not visitor.is_in()


def test_it_forgets_a_person_s_failures_with_the_right_password(url: str, behind_proxy: Settings) -> None:
    visitor = at(url)
    guess(visitor, 3)
    let_pass(behind_proxy, 1)
    visitor.sign_in()
    # From the same address, by a browser that nobody has signed in by.
    assert guess(at(url), 3) == [401, 401, 401]
    assert is_slowed(behind_proxy, at(url))


def test_it_makes_nobody_wait_until_a_clock_that_was_set_back_is_right(
    url: str, behind_proxy: Settings
) -> None:
    visitor = at(url)
    guess(visitor, 3)
    let_pass(behind_proxy, -A_DAY_S)
    assert visitor.try_password().status_code == SLOWED
    let_pass(behind_proxy, 1)
    assert visitor.try_password().status_code == 302


def test_it_forgets_failures_after_a_while(url: str, behind_proxy: Settings) -> None:
    visitor = at(url)
    guess(visitor, 3)
    let_pass(behind_proxy, 15 * 60)
    assert guess(visitor, 3) == [401, 401, 401]


def test_it_counts_across_servers(url: str, behind_proxy: Settings) -> None:
    with served(behind_proxy) as other:
        assert guess(at(url), 2) == [401, 401]
        assert guess(at(other), 1) == [401]
        assert is_slowed(behind_proxy, at(url))
        assert is_slowed(behind_proxy, at(other))


def test_it_keeps_nobody_out_who_comes_from_somewhere_else(url: str, behind_proxy: Settings) -> None:
    for number in range(15):
        guess(at(url, f"198.51.100.{number}"), 1)
    assert is_slowed(behind_proxy, at(url, "198.51.100.0"))
    with just_failed(behind_proxy):
        assert at(url, "192.0.2.7").try_password().status_code == 302


def test_it_keeps_nobody_out_who_signed_in_by_that_browser_before(url: str, behind_proxy: Settings) -> None:
    known, guesser = at(url).sign_in(), at(url)
    for number in range(12):
        guess(guesser, 1, f"name{number}")
        guess(guesser, 1)
    with just_failed(behind_proxy):
        assert at(url).try_password().status_code == SLOWED
        assert known.try_password(password="mistyped").status_code == 401
        assert known.try_password().status_code == 302


def test_it_slows_down_a_known_browser_too_and_for_other_names_like_any(
    url: str, behind_proxy: Settings
) -> None:
    known = at(url).sign_in()
    assert guess(known, 3) == [401, 401, 401]
    assert is_slowed(behind_proxy, known)
    assert guess(at(url), 3, OTHER_USER) == [401, 401, 401]
    assert is_slowed(behind_proxy, known, OTHER_USER)


@pytest.mark.parametrize("value", ["", "x", "....", '["shifter","a"]'])
def test_it_knows_no_browser_by_a_mark_that_it_did_not_give(
    url: str, behind_proxy: Settings, value: str
) -> None:
    guess(at(url), 3)
    forged = at(url)
    forged.http.cookies.set(KNOWN, value)
    another_s = URLSafeTimedSerializer("a-guessed-secret", salt="control room browser")
    signed = at(url)
    signed.http.cookies.set(KNOWN, str(another_s.dumps([USER, value])))
    assert is_slowed(behind_proxy, forged)
    assert is_slowed(behind_proxy, signed)


def test_it_makes_a_new_guesser_wait_longer_where_many_guess(url: str, behind_proxy: Settings) -> None:
    for number in range(15):
        guess(at(url, f"198.51.100.{number}"), 1)
    newcomer = at(url, "192.0.2.9")
    assert guess(newcomer, 1) == [401]
    assert is_told_to_wait(behind_proxy, newcomer, 30)


def test_it_slows_down_an_address_that_tries_many_names(url: str, behind_proxy: Settings) -> None:
    visitor = at(url)
    for number in range(10):
        assert guess(visitor, 1, f"name{number}") == [401]
    assert is_slowed(behind_proxy, visitor, "name10")
    assert is_slowed(behind_proxy, visitor, OTHER_USER)


def test_it_does_not_tell_which_names_there_are(url: str, behind_proxy: Settings) -> None:
    for user in (USER, "nobody-of-this-name"):
        visitor = at(url, f"192.0.2.{len(user)}")
        assert guess(visitor, 3, user) == [401, 401, 401]
        assert is_slowed(behind_proxy, visitor, user)


def test_it_counts_an_ipv6_client_by_its_network(url: str, behind_proxy: Settings) -> None:
    for number in range(3):
        guess(at(url, f"2001:db8:1:2::{number}"), 1)
    assert is_slowed(behind_proxy, at(url, "2001:db8:1:2:ffff::1"))
    assert not is_slowed(behind_proxy, at(url, "2001:db8:1:3::1"))


def test_it_counts_an_ipv4_client_by_its_address_however_that_is_written(
    url: str, behind_proxy: Settings
) -> None:
    guess(at(url, "::ffff:192.0.2.1"), 3)
    assert is_slowed(behind_proxy, at(url, "192.0.2.1"))
    assert not is_slowed(behind_proxy, at(url, "::ffff:192.0.2.2"))


def test_it_believes_a_proxy_the_last_address_alone(url: str, behind_proxy: Settings) -> None:
    for number in range(3):
        guess(at(url, f"203.0.113.{number}, 192.0.2.1"), 1)
    assert is_slowed(behind_proxy, at(url, "192.0.2.1"))
    assert is_slowed(behind_proxy, at(url, "192.0.2.1, 127.0.0.2"))
    assert not is_slowed(behind_proxy, at(url, "192.0.2.1, no address"))


def test_it_believes_nobody_where_no_proxy_is_trusted(settings: Settings) -> None:
    with served(settings) as url:
        for number in range(3):
            guess(at(url, f"192.0.2.{number}"), 1)
        assert is_slowed(settings, at(url, "192.0.2.99"))


def test_it_keeps_addresses_and_names_hashed(url: str, behind_proxy: Settings) -> None:
    guess(at(url, "192.0.2.200"), 2)
    engine = playback_database(behind_proxy)
    with engine.connect() as connection:
        kept = [bytes(key) for key in connection.scalars(sa.select(db.login_attempts.c.id))]
    engine.dispose()
    assert len(kept) == 3
    assert all(len(key) == 32 and USER.encode() not in key and b"192.0" not in key for key in kept)
