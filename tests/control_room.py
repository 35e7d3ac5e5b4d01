"""The Control Room under test: a server in a thread, and visitors of it who speak real HTTP."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import pbkdf2_hmac
from typing import Any

import requests
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from server import create_app
from simulator.simulator import Simulator
from tests.served import server_thread

USER, PASSWORD = "shifter", "a-password-of-the-tests"
GATEWAY, UNIT, OTHER_UNIT = "dqmrubu-c2a06-03-01", "dqmfu-c2b01-45-01", "dqmfu-c2b02-45-01"
PRODUCTION_UNIT = "dqmfu-c2b03-45-01"
BEAM = "beam_dqm_sourceclient-live_cfg.py"
RUN = "run256936"


def quick(settings: Settings) -> Settings:
    """The same users, with passwords in a hash that costs no time."""
    users = {
        user: password if password.startswith(("scrypt:", "pbkdf2:")) else _cheap_hash(password)
        for user, password in settings.dqm_cr_usernames.items()
    }
    return replace(settings, dqm_cr_usernames=users)


def _cheap_hash(password: str) -> str:
    # The same each time, as a password in the settings is.
    salt = "salt"
    return f"pbkdf2:sha256:1${salt}${pbkdf2_hmac('sha256', password.encode(), salt.encode(), 1).hex()}"


@contextmanager
def served(settings: Settings, *, as_it_is: bool = False) -> Iterator[str]:
    """The address of a server of the application, without the slash at its end; its prefix included.

    `as_it_is`: with the passwords as the settings have them, which takes longer.
    """
    app = create_app(settings if as_it_is else quick(settings))
    with server_thread(app) as url:
        yield f"{url}{settings.server_url_prefix}"


class Visitor:
    """Somebody with a browser of his own, or a script; `headers` go with every request."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        self.token = ""

    def get(self, path: str, **options: Any) -> requests.Response:
        """An answer below the address; redirects are not followed."""
        return self.http.get(f"{self.url}{path}", timeout=60, **{"allow_redirects": False, **options})

    def post(self, path: str, data: Any = None, **options: Any) -> requests.Response:
        """The same, by POST."""
        options = {"allow_redirects": False, **options}
        return self.http.post(f"{self.url}{path}", data=data, timeout=60, **options)

    def try_password(self, user: str = USER, password: str = PASSWORD, **options: Any) -> requests.Response:
        """A try to sign in."""
        return self.post("/cr/login/", {"username": user, "password": password}, **options)

    def sign_in(self, user: str = USER, password: str = PASSWORD) -> "Visitor":
        """Signs in and takes the page's token along."""
        answer = self.try_password(user, password)
        assert answer.status_code == 302, answer.text
        return self.enter()

    def enter(self) -> "Visitor":
        """Takes the token from the page, as a script does."""
        page = self.get("/cr/")
        assert page.status_code == 200, page.text
        self.token = token_in(page.text)
        return self

    def is_in(self) -> bool:
        """Whether the Control Room lets it in."""
        return self.get("/cr/").status_code == 200

    def ask(self, what: str, **parameters: object) -> requests.Response:
        """A command by GET."""
        return self.get("/cr/exe", params={"what": what, **parameters})

    def tell(self, what: str, **parameters: object) -> requests.Response:
        """A command by POST, with the session's token."""
        return self.tell_with({}, what, **parameters)

    def tell_with(self, headers: dict[str, str], what: str, **parameters: object) -> requests.Response:
        """The same, with more headers or others."""
        form = {"what": what, **parameters}
        return self.post("/cr/exe", form, headers={"X-CSRF-Token": self.token, **headers})

    def audit(self, **wanted: str) -> list[dict[str, str]]:
        """The audit, newest first."""
        answer = self.get("/cr/audit.csv", params=wanted)
        assert answer.status_code == 200, answer.text
        return list(csv.DictReader(io.StringIO(answer.text)))


def token_in(page: str) -> str:
    """The session's token, as a page has it."""
    found = re.search(r'<meta name="csrf-token" content="([0-9a-f]+)">', page)
    assert found is not None
    return found[1]


def commands_sent(simulator: Simulator) -> list[dict[str, str]]:
    """The control commands that reached the simulated gateway, in order."""
    return [dict(request.query) for request in simulator.requests if request.path.endswith("/cr/exe")]


def playback_database(settings: Settings) -> sa.Engine:
    """The database in which the Control Room keeps what it keeps."""
    return db.engine(settings, Cluster.PLAYBACK, "tests")


def change(settings: Settings, statement: sa.Update | sa.Delete) -> None:
    """Changes what the Control Room keeps behind its back."""
    database = playback_database(settings)
    with database.begin() as connection:
        connection.execute(statement)
    database.dispose()
