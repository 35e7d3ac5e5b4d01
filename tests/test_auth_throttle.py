"""Throttling of login attempts: guessing is slow on every server and does not lock out other users."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa
from itsdangerous import URLSafeTimedSerializer

import db
from dqmsquare_cfg import Settings
from tests.control_room import (
    PASSWORD,
    TRUSTED_PROXIES,
    USER,
    Visitor,
    control_room_database,
    execute_statement,
    visitor_at,
)
from tests.served import served

OTHER_USER = "expert"
DEVICE_COOKIE = "control_room_browser"
DAY_S = 86_400
THROTTLED = 429


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with two users, behind a trusted proxy."""
    users = {USER: PASSWORD, OTHER_USER: PASSWORD}
    return replace(settings, dqm_cr_usernames=users, trusted_proxies=TRUSTED_PROXIES)


def guess(visitor: Visitor, times: int, user: str = USER) -> list[int]:
    """Return the statuses of wrong attempts, up to the first that is throttled."""
    statuses = []
    for number in range(times):
        statuses.append(visitor.submit_password(user, f"wrong {number}").status_code)
        if statuses[-1] == THROTTLED:
            break
    return statuses


def let_pass(settings: Settings, seconds: int) -> None:
    """Make all failures older."""
    older = db.login_attempts.c.last_failed_at - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    execute_statement(settings, sa.update(db.login_attempts).values(last_failed_at=older))


@contextmanager
def just_failed(settings: Settings) -> Iterator[None]:
    """Make attempts within happen at the time of the failures, however slow the machine is."""
    tries = db.login_attempts
    database = control_room_database(settings)
    with database.connect() as connection:
        failed_at = connection.execute(sa.select(tries.c.id, tries.c.last_failed_at)).all()
    let_pass(settings, -DAY_S)
    yield
    with database.begin() as connection:
        for row in failed_at:
            connection.execute(
                sa.update(tries).where(tries.c.id == row.id).values(last_failed_at=row.last_failed_at)
            )


def is_throttled(settings: Settings, visitor: Visitor, user: str = USER) -> bool:
    """Return whether another attempt would be throttled now."""
    with just_failed(settings):
        return visitor.submit_password(user, "wrong").status_code == THROTTLED


def has_delay(settings: Settings, visitor: Visitor, seconds: int) -> bool:
    """Whether the response to an attempt says to wait for this time."""
    with just_failed(settings):
        response = visitor.submit_password(USER, "wrong")
    return response.headers["Retry-After"] == str(seconds) and f"Try again in {seconds} s." in response.text


def test_it_delays_attempts_after_a_few_failures_twice_as_long_each_time_up_to_30_s(
    url: str, settings: Settings
) -> None:
    visitor = visitor_at(url)
    assert guess(visitor, 3) == [401, 401, 401]
    for seconds in (1, 2, 4, 8, 16, 30, 30):
        assert has_delay(settings, visitor, seconds)
        let_pass(settings, 31)
        assert guess(visitor, 1) == [401]


def test_it_does_not_exceed_the_maximum_delay_after_a_thousand_failures(url: str, settings: Settings) -> None:
    visitor = visitor_at(url)
    guess(visitor, 1)
    execute_statement(settings, sa.update(db.login_attempts).values(failures=1000))
    assert has_delay(settings, visitor, 30)


def test_it_does_not_delay_right_passwords(url: str) -> None:
    for _ in range(12):
        visitor_at(url).sign_in()
    assert visitor_at(url).submit_password(OTHER_USER, "wrong").status_code == 401


def test_it_neither_counts_an_early_attempt_nor_checks_its_password(url: str, settings: Settings) -> None:
    visitor = visitor_at(url)
    guess(visitor, 3)
    for _ in range(5):
        assert is_throttled(settings, visitor)
    with just_failed(settings):
        assert visitor.submit_password().status_code == THROTTLED
    assert not visitor.is_signed_in()
    let_pass(settings, 1)
    assert visitor.submit_password().status_code == 302


def test_it_resets_a_user_s_failures_after_the_right_password(url: str, settings: Settings) -> None:
    visitor = visitor_at(url)
    guess(visitor, 3)
    let_pass(settings, 1)
    visitor.sign_in()
    # From the same address, in a browser without a device cookie.
    assert guess(visitor_at(url), 3) == [401, 401, 401]
    assert is_throttled(settings, visitor_at(url))


def test_it_does_not_extend_delays_when_the_clock_is_set_back(url: str, settings: Settings) -> None:
    visitor = visitor_at(url)
    guess(visitor, 3)
    let_pass(settings, -DAY_S)
    assert visitor.submit_password().status_code == THROTTLED
    let_pass(settings, 1)
    assert visitor.submit_password().status_code == 302


def test_it_forgets_failures_after_15_minutes(url: str, settings: Settings) -> None:
    visitor = visitor_at(url)
    guess(visitor, 3)
    let_pass(settings, 15 * 60)
    assert guess(visitor, 3) == [401, 401, 401]


def test_it_counts_across_servers(url: str, settings: Settings) -> None:
    with served(settings) as other:
        assert guess(visitor_at(url), 2) == [401, 401]
        assert guess(visitor_at(other), 1) == [401]
        assert is_throttled(settings, visitor_at(url))
        assert is_throttled(settings, visitor_at(other))


def test_it_does_not_delay_users_at_other_addresses(url: str, settings: Settings) -> None:
    for number in range(15):
        guess(visitor_at(url, f"198.51.100.{number}"), 1)
    assert is_throttled(settings, visitor_at(url, "198.51.100.0"))
    with just_failed(settings):
        assert visitor_at(url, "192.0.2.7").submit_password().status_code == 302


def test_it_does_not_delay_browsers_with_a_device_cookie(url: str, settings: Settings) -> None:
    known, guesser = visitor_at(url).sign_in(), visitor_at(url)
    for number in range(12):
        guess(guesser, 1, f"name{number}")
        guess(guesser, 1)
    with just_failed(settings):
        assert visitor_at(url).submit_password().status_code == THROTTLED
        assert known.submit_password(password="mistyped").status_code == 401
        assert known.submit_password().status_code == 302


def test_it_delays_known_browsers_after_their_own_failures(url: str, settings: Settings) -> None:
    known = visitor_at(url).sign_in()
    assert guess(known, 3) == [401, 401, 401]
    assert is_throttled(settings, known)
    assert guess(visitor_at(url), 3, OTHER_USER) == [401, 401, 401]
    assert is_throttled(settings, known, OTHER_USER)


def test_it_ignores_forged_device_cookies(url: str, settings: Settings) -> None:
    guess(visitor_at(url), 3)
    another_s = URLSafeTimedSerializer("a-guessed-secret", salt="control room browser")
    for cookie in ("", "....", '["shifter","a"]', str(another_s.dumps([USER, "a"]))):
        forged = visitor_at(url)
        forged.http.cookies.set(DEVICE_COOKIE, cookie)
        assert is_throttled(settings, forged), cookie


def test_it_delays_new_addresses_longer_while_many_guess(url: str, settings: Settings) -> None:
    for number in range(15):
        guess(visitor_at(url, f"198.51.100.{number}"), 1)
    newcomer = visitor_at(url, "192.0.2.9")
    assert guess(newcomer, 1) == [401]
    assert has_delay(settings, newcomer, 30)


def test_it_delays_an_address_that_tries_many_names(url: str, settings: Settings) -> None:
    visitor = visitor_at(url)
    for number in range(10):
        assert guess(visitor, 1, f"name{number}") == [401]
    assert is_throttled(settings, visitor, "name10")
    assert is_throttled(settings, visitor, OTHER_USER)


def test_it_does_not_delay_other_users_at_the_address_for_the_failures_of_one(
    url: str, settings: Settings
) -> None:
    """Behind a front end, all visitors may have its address."""
    for _ in range(12):
        guess(visitor_at(url), 1)
        let_pass(settings, 31)
    with just_failed(settings):
        assert visitor_at(url).submit_password().status_code == THROTTLED
        assert visitor_at(url).submit_password(OTHER_USER).status_code == 302


def test_it_does_not_reveal_which_users_exist(url: str, settings: Settings) -> None:
    for user in (USER, "nobody-of-this-name"):
        visitor = visitor_at(url, f"192.0.2.{len(user)}")
        assert guess(visitor, 3, user) == [401, 401, 401]
        assert is_throttled(settings, visitor, user)


def test_it_counts_ipv6_clients_by_network(url: str, settings: Settings) -> None:
    for number in range(3):
        guess(visitor_at(url, f"2001:db8:1:2::{number}"), 1)
    assert is_throttled(settings, visitor_at(url, "2001:db8:1:2:ffff::1"))
    assert not is_throttled(settings, visitor_at(url, "2001:db8:1:3::1"))


def test_it_counts_ipv4_clients_by_address_however_it_is_written(url: str, settings: Settings) -> None:
    guess(visitor_at(url, "::ffff:192.0.2.1"), 3)
    assert is_throttled(settings, visitor_at(url, "192.0.2.1"))
    assert not is_throttled(settings, visitor_at(url, "::ffff:192.0.2.2"))


def test_it_believes_only_the_last_address_of_a_trusted_proxy(url: str, settings: Settings) -> None:
    for number in range(3):
        guess(visitor_at(url, f"203.0.113.{number}, 192.0.2.1"), 1)
    assert is_throttled(settings, visitor_at(url, "192.0.2.1"))
    assert is_throttled(settings, visitor_at(url, "192.0.2.1, 127.0.0.2"))
    assert not is_throttled(settings, visitor_at(url, "192.0.2.1, no address"))


def test_it_accepts_forwarded_addresses_with_ports(url: str, settings: Settings) -> None:
    for forwarded, same_client in (
        ("192.0.2.1:51234, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:51234", "192.0.2.1:60000"),
        ("[2001:db8:1:2::1]:51234", "2001:db8:1:2::9"),
        ("[2001:db8:1:2::1]:51234, 2001:db8:1:2::1", "[2001:db8:1:2::2]"),
    ):
        guess(visitor_at(url, forwarded), 3)
        assert is_throttled(settings, visitor_at(url, same_client)), forwarded
        assert not is_throttled(settings, visitor_at(url, "192.0.2.2:51234, 192.0.2.2"))
        assert not is_throttled(settings, visitor_at(url, "[2001:db8:1:3::1]:51234"))
        execute_statement(settings, sa.delete(db.login_attempts))


def test_it_ignores_forwarded_addresses_without_a_trusted_proxy(settings: Settings) -> None:
    with served(replace(settings, trusted_proxies=())) as url:
        for number in range(3):
            guess(visitor_at(url, f"192.0.2.{number}"), 1)
        assert is_throttled(settings, visitor_at(url, "192.0.2.99"))


def test_it_stores_addresses_and_names_hashed(url: str, settings: Settings) -> None:
    guess(visitor_at(url, "192.0.2.200"), 2)
    with control_room_database(settings).connect() as connection:
        kept = [bytes(key) for key in connection.scalars(sa.select(db.login_attempts.c.id))]
    assert len(kept) == 3
    assert all(len(key) == 32 and USER.encode() not in key and b"192.0" not in key for key in kept)
