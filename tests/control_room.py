"""The Control Room under test: its visitors over real HTTP, its records, and the commands that it sent."""

import csv
import io
import re
from ipaddress import ip_network
from typing import Any

import requests
import sqlalchemy as sa

from dqmsquare_cfg import Cluster, Settings
from simulator.simulator import Simulator
from tests.databases import kept_engine
from tests.waiting import TIMEOUT_S

USER, PASSWORD = "shifter", "a-password-of-the-tests"
GATEWAY, UNIT, OTHER_UNIT = "dqmrubu-c2a06-03-01", "dqmfu-c2b01-45-01", "dqmfu-c2b02-45-01"
PRODUCTION_UNIT = "dqmfu-c2b03-45-01"
BEAM = "beam_dqm_sourceclient-live_cfg.py"
RUN = "run256936"
# Of a proxy at the tests' own address.
TRUSTED_PROXIES = (ip_network("127.0.0.0/8"),)


class Visitor:
    """A browser or script with its own cookies; `headers` are sent with every request."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        self._token = ""

    @property
    def token(self) -> str:
        """The session's CSRF token, which a page shows to visitors who are signed in; loaded once."""
        if not self._token:
            self.load_token()
        return self._token

    def get(self, path: str, **options: Any) -> requests.Response:
        """Send a GET request. Redirects are not followed."""
        return self.http.get(f"{self.url}{path}", timeout=TIMEOUT_S, **{"allow_redirects": False, **options})

    def post(self, path: str, data: Any = None, **options: Any) -> requests.Response:
        """Send a POST request. Redirects are not followed."""
        options = {"allow_redirects": False, **options}
        return self.http.post(f"{self.url}{path}", data=data, timeout=TIMEOUT_S, **options)

    def submit_password(
        self, user: str = USER, password: str = PASSWORD, **options: Any
    ) -> requests.Response:
        """Submit the login form."""
        return self.post("/cr/login/", {"username": user, "password": password}, **options)

    def sign_in(self, user: str = USER, password: str = PASSWORD) -> "Visitor":
        """Sign in."""
        response = self.submit_password(user, password)
        assert response.status_code == 302, response.text
        self._token = ""
        return self

    def load_token(self) -> "Visitor":
        """Load the CSRF token from the page, as a script does."""
        page = self.get("/cr/")
        assert page.status_code == 200, page.text
        self._token = token_in(page.text)
        return self

    def is_signed_in(self) -> bool:
        """Whether the visitor is signed in."""
        return self.get("/cr/").status_code == 200

    def get_command(self, what: str, **parameters: object) -> requests.Response:
        """Send a command by GET."""
        return self.get("/cr/exe", params={"what": what, **parameters})

    def post_command(self, what: str, **parameters: object) -> requests.Response:
        """Send a command by POST with the session's token."""
        return self.post_command_with({}, what, **parameters)

    def post_command_with(
        self, headers: dict[str, str], what: str, **parameters: object
    ) -> requests.Response:
        """Send a command by POST with additional or different headers."""
        form = {"what": what, **parameters}
        return self.post("/cr/exe", form, headers={"X-CSRF-Token": self.token, **headers})

    def audit(self, **filters: str) -> list[dict[str, str]]:
        """Audit entries, newest first."""
        response = self.get("/cr/audit.csv", params=filters)
        assert response.status_code == 200, response.text
        return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


def visitor_at(url: str, address: str = "192.0.2.1", **headers: str) -> Visitor:
    """A visitor whose address a trusted proxy forwards."""
    return Visitor(url, X_Forwarded_For=address, **headers)


def token_in(page: str) -> str:
    """The CSRF token of a page."""
    found = re.search(r'<meta name="csrf-token" content="([0-9a-f]+)">', page)
    assert found is not None
    return found[1]


def commands_sent(simulator: Simulator) -> list[dict[str, str]]:
    """The control commands that reached the simulated gateway, in order."""
    return [dict(request.query) for request in simulator.requests if request.path.endswith("/cr/exe")]


def control_room_database(settings: Settings) -> sa.Engine:
    """The engine, which stays, for the database of the Control Room's records."""
    return kept_engine(settings, Cluster.PLAYBACK)


def execute_statement(settings: Settings, statement: sa.Insert | sa.Update | sa.Delete) -> None:
    """Execute a statement in the database of the Control Room's records."""
    with control_room_database(settings).begin() as connection:
        connection.execute(statement)
