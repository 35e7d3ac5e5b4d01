"""A simulator that runs in another process, told what to do over its own HTTPS (`administration.py`)."""

from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests

from simulator.admin import ADMINISTRATION_PATH
from simulator.certificates import Authority

_TIMEOUT_S = 60.0


class RemoteError(Exception):
    """The simulator couldn't do what it was told; the message is its sentence."""


class Remote:
    """The simulator at a base URL whose certificates are in a folder."""

    def __init__(self, base_url: str, folder: Path) -> None:
        authority = Authority(folder)
        self._origin = "{0.scheme}://{0.netloc}".format(urlsplit(base_url))
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cert = (str(authority.client.certificate), str(authority.client.key))
        self._session.verify = str(authority.ca_path)

    def __enter__(self) -> "Remote":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()

    def tell(self, verb: str, **parameters: Any) -> Any:
        """Does a verb and returns what it returns, e.g. `tell("reset", machine="dqmfu-c2b03-45-01")`.

        Raises RemoteError if the simulator can't.
        """
        answer = self._session.post(
            f"{self._origin}{ADMINISTRATION_PATH}{verb}", json=parameters, timeout=_TIMEOUT_S
        )
        if answer.status_code != requests.codes.ok:
            raise RemoteError(answer.json()["error"])
        return answer.json()
