"""Fake sensitive data: users, machines, addresses and keys, and log lines that contain them.

Everything is drawn from a seed, so that this file contains nothing that looks like a key, and tests can
search the mirror for all `FakeSecrets.values`.
"""

import base64
import json
import random
import string
from dataclasses import dataclass
from functools import cached_property

_USERS = ("dqmpro", "dqmdev", "hltpro", "xdaqpro", "mmusterm", "jdoe")
_PEOPLE = ("erika.mustermann", "jane.doe", "dqm.oncall")
_MACHINES = (
    "dqmfu-c2b04-45-01",
    "dqmrubu-c2a06-05-01",
    "fu-c2f11-21-02",
    "mrg-c2f12-27-01",
    "sm-c2a11-43-01",
    "dqm-prod-local",
    "cmsfrontier-proxy",
    "srv-c2d05-12",
    "ctrl-s2c17-22-01",
    "kvm-s3562-1-ip151-84",
)

_PEM = "-----BEGIN RSA PRIVATE KEY-----"
# Log lines with sensitive data. The last one is replaced by a whole PEM block.
_LOG_LINES = (
    "dqmRunConfig: collector {host}:9090, type production",
    "Frontier: connecting to http://{host}:3128 for {address}",
    "MonitorThread: peer {address}:53312 attached as {user}@{host}",
    "Reading conditions override from /nfshome0/{user}/conditions/override.db",
    "Cannot stat /afs/cern.ch/user/d/{user}/.dqmrc, going on without",
    "Snapshot copied to /eos/user/j/{user}/dqm/snapshots",
    "Notify: mail to {email} queued",
    "DIP publisher: login={user} password={secret} accepted",
    'OMS: {{"user": "{user}", "api_key": "{secret}"}}',
    "curl --token {secret} https://{user}:{second_secret}@{host}/upload",
    "Authorization: Bearer {web_token}",
    "Kerberos ticket FILE:/tmp/krb5cc_51234_{user} is good for 9 h",
    "Cookie: selenium-secret-secret={secret}",
    _PEM,
)

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class FakeSecrets:
    """The sensitive data of a simulated P5."""

    seed: int

    @property
    def values(self) -> tuple[str, ...]:
        """All strings that must not be visible outside P5: host names, addresses, e-mail addresses, keys."""
        return (
            *self.hosts,
            *self._emails,
            *self._addresses,
            *self._secrets,
            self._web_token,
            *self._key_lines,
        )

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """Full host names at P5."""
        return tuple(f"{name}.cms" for name in _MACHINES)

    def log_lines(self, rng: random.Random) -> list[str]:
        """A log line, or a block of lines, with sensitive data."""
        template = rng.choice(_LOG_LINES)
        if template == _PEM:
            return [f"{line}\n" for line in (_PEM, *self._key_lines, _PEM.replace("BEGIN", "END"))]
        return [
            template.format(
                host=rng.choice(self.hosts),
                address=rng.choice(self._addresses),
                user=rng.choice(_USERS),
                email=rng.choice(self._emails),
                secret=rng.choice(self._secrets),
                second_secret=rng.choice(self._secrets),
                web_token=self._web_token,
            )
            + "\n"
        ]

    def environment(self, rng: random.Random) -> dict[str, str]:
        """Sensitive environment variables of a process."""
        return {
            "DQM_FFF_SECRET": rng.choice(self._secrets),
            "FRONTIER_PASSWORD": rng.choice(self._secrets),
            "X509_USER_PROXY": f"/tmp/x509up_u{rng.randint(50_000, 59_999)}",  # noqa: S108 - a path at P5
            "SSH_CLIENT": f"{rng.choice(self._addresses)} 53312 22",
            "MAILTO": rng.choice(self._emails),
            "OMS_TOKEN": self._web_token,
        }

    @cached_property
    def _emails(self) -> tuple[str, ...]:
        rng = self._rng("emails")
        return tuple(f"{name}{rng.randint(10, 99)}@cern.ch" for name in _PEOPLE)

    @cached_property
    def _addresses(self) -> tuple[str, ...]:
        rng = self._rng("addresses")
        ipv4 = (f"10.176.{rng.randint(1, 250)}.{rng.randint(1, 250)}" for _ in range(6))
        ipv6 = (f"2001:1458:{rng.randint(0x1000, 0xFFFF):x}::{rng.randint(0x100, 0xFFF):x}" for _ in range(2))
        return (*ipv4, *ipv6)

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        rng = self._rng("secrets")
        words = ("".join(rng.choices(_LETTERS, k=24)) for _ in range(6))
        github = "ghp_" + "".join(rng.choices(_LETTERS, k=36))
        aws = "AKIA" + "".join(rng.choices(string.ascii_uppercase + string.digits, k=16))
        return (*words, github, aws)

    @cached_property
    def _web_token(self) -> str:
        parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "dqmpro", "jti": self._secrets[0]})
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        return ".".join([*encoded, "".join(self._rng("token").choices(_LETTERS, k=43))])

    @cached_property
    def _key_lines(self) -> tuple[str, ...]:
        rng = self._rng("key")
        return tuple("".join(rng.choices(_LETTERS, k=64)) for _ in range(4))

    def _rng(self, key: str) -> random.Random:
        return random.Random(f"sensitive/{self.seed}/{key}")  # noqa: S311 - nothing here is a real secret
