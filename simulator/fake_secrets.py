"""What may not leave P5, made up: users, machines, addresses, keys, and log lines that carry them.

Everything is drawn from a seed, so that nothing here looks like a key until the simulator runs, and a test
can ask for all that was sprinkled (`Sensitive.values`) and look for it behind the mirror.
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

# Log lines that give something away. The last one stands for a whole PEM block.
_PEM = "-----BEGIN RSA PRIVATE KEY-----"
_SENTENCES = (
    "dqmRunConfig: collector {host}:9090, type production",
    "Frontier: connecting to http://{host}:3128 for {address}",
    "MonitorThread: peer {address}:53312 attached as {user}@{host}",
    "Reading conditions override from /nfshome0/{user}/conditions/override.db",
    "Cannot stat /afs/cern.ch/user/d/{user}/.dqmrc, going on without",
    "Snapshot copied to /eos/user/j/{user}/dqm/snapshots",
    "Notify: mail to {mail} queued",
    "DIP publisher: login={user} password={secret} accepted",
    'OMS: {{"user": "{user}", "api_key": "{secret}"}}',
    "curl --token {secret} https://{user}:{other_secret}@{host}/upload",
    "Authorization: Bearer {web_token}",
    "Kerberos ticket FILE:/tmp/krb5cc_51234_{user} is good for 9 h",
    "Cookie: selenium-secret-secret={secret}",
    _PEM,
)

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Sensitive:
    """The made-up secrets of a simulated P5."""

    seed: int

    @property
    def values(self) -> tuple[str, ...]:
        """Every text that may not be seen outside: full host names, addresses, mails, keys."""
        return (
            *self.hosts,
            *self._mails,
            *self._addresses,
            *self._secrets,
            self._web_token,
            *self._key_lines,
        )

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """Full names of machines at P5."""
        return tuple(f"{name}.cms" for name in _MACHINES)

    def lines(self, rng: random.Random) -> list[str]:
        """A log line, or a block of them, that gives something away."""
        sentence = rng.choice(_SENTENCES)
        if sentence == _PEM:
            return [f"{line}\n" for line in (_PEM, *self._key_lines, _PEM.replace("BEGIN", "END"))]
        return [
            sentence.format(
                host=rng.choice(self.hosts),
                address=rng.choice(self._addresses),
                user=rng.choice(_USERS),
                mail=rng.choice(self._mails),
                secret=rng.choice(self._secrets),
                other_secret=rng.choice(self._secrets),
                web_token=self._web_token,
            )
            + "\n"
        ]

    def environment(self, rng: random.Random) -> dict[str, str]:
        """Variables of a process that nobody outside should read."""
        return {
            "DQM_FFF_SECRET": rng.choice(self._secrets),
            "FRONTIER_PASSWORD": rng.choice(self._secrets),
            "X509_USER_PROXY": f"/tmp/x509up_u{rng.randint(50_000, 59_999)}",  # noqa: S108 - a text of P5
            "SSH_CLIENT": f"{rng.choice(self._addresses)} 53312 22",
            "MAILTO": rng.choice(self._mails),
            "OMS_TOKEN": self._web_token,
        }

    @cached_property
    def _mails(self) -> tuple[str, ...]:
        rng = self._rng("mails")
        return tuple(f"{name}{rng.randint(10, 99)}@cern.ch" for name in _PEOPLE)

    @cached_property
    def _addresses(self) -> tuple[str, ...]:
        rng = self._rng("addresses")
        four = (f"10.176.{rng.randint(1, 250)}.{rng.randint(1, 250)}" for _ in range(6))
        six = (f"2001:1458:{rng.randint(0x1000, 0xFFFF):x}::{rng.randint(0x100, 0xFFF):x}" for _ in range(2))
        return (*four, *six)

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

    def _rng(self, what: str) -> random.Random:
        return random.Random(f"sensitive/{self.seed}/{what}")  # noqa: S311 - nothing here is a real secret
