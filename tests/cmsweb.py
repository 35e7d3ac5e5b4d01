"""Headers that CMSWEB's front ends add to a request, written from their public sources.

Go: auth-proxy-server with cmsauth. Perl: cmsauth.pm of the older front end.
"""

import hashlib
import hmac
from collections.abc import Mapping

KEY = b"\x00a key of the front end\n\xff"
LOGIN = "jdoe"
DN = "/DC=ch/DC=cern/OU=Organic Units/OU=Users/CN=jdoe/CN=123456/CN=Jane Doe"
ROLES: Mapping[str, str] = {
    "admin": "group:das group:phedex",
    "dqm-operator": "group:dqm site:p5",
    "t2-operator": "site:t2-ch-cern",
}


def go_headers(
    login: str | None = LOGIN,
    *,
    method: str = "X509Cert",
    name: str = "Jane Doe",
    roles: Mapping[str, str] = ROLES,
    sent: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers that reach a back end of the Go front end.

    `login`: `None` for a token that is not in CMS's registry, by the method `oauth`. `sent`: headers of the
    client, which are passed on unless they are overwritten, and signed if they are of the signed kind.
    """
    added = {
        "cms-auth-status": "ok",
        "cms-authn-name": name,
        "cms-authn-method": method,
        "cms-cern-id": "123456",
        "cms-email": "jane.doe@cern.ch",
        "cms-auth-time": "1764345600",
        "cms-auth-expire": "1764432000",
        "cms-session": "",
        "cms-request-uri": "/dqm/dqm-square/cr/",
    }
    if login is not None:
        added |= {"cms-authn-login": login, "cms-authn-dn": DN, "cms-auth-cert": DN}
        added |= {f"cms-authz-{role}": scopes for role, scopes in roles.items()}
    headers = {name.title(): value for name, value in {**(sent or {}), **added}.items()}
    headers["Cms-Authn-Hmac"] = sign(headers)
    # It repeats the identity without the prefix, and replaces what says where the request came from.
    unprefixed = {
        name.lower().removeprefix("cms-authn-"): value
        for name, value in headers.items()
        if name.startswith("Cms-Authn-") and name != "Cms-Authn-Hmac"
    }
    proxy = {
        "Host": "dqm-square-k8.dqm.svc.cluster.local:8084",
        "Referer": "https://x509-proxy-server-0",
        "Referrer": "https://x509-proxy-server-0",
        "X-Forwarded-Host": "x509-proxy-server-0",
        "X-Forwarded-For": "192.0.2.1:51234, 192.0.2.1",
    }
    return {**headers, **unprefixed, **proxy}


def perl_headers(
    login: str | None = LOGIN,
    *,
    method: str = "X509Cert",
) -> dict[str, str]:
    """The headers that the Perl front end adds; without a login those of an anonymous visitor."""
    if login is None:
        headers = {"cms-auth-status": "NONE", "cms-authn-method": "None"}
    else:
        headers = {
            "cms-auth-status": "OK",
            "cms-auth-cert": DN,
            "cms-authn-dn": DN,
            "cms-authn-login": login,
            "cms-authn-method": method,
            "cms-authn-name": "Jane Doe",
            **{f"cms-authz-{role}": scopes for role, scopes in ROLES.items()},
        }
    return {**headers, "cms-authn-hmac": sign(headers)}


def sign(headers: Mapping[str, str], key: bytes = KEY) -> str:
    """The signature of headers as the front ends describe it, whatever the case of their names."""
    by_name = {name.lower(): value for name, value in headers.items()}
    signed = sorted(
        name for name in by_name if name.startswith(("cms-authn", "cms-authz")) and name != "cms-authn-hmac"
    )
    lengths = "".join(f"h{len(name):x}v{len(by_name[name]):x}" for name in signed)
    texts = "".join(f"{name}{by_name[name]}" for name in signed)
    return hmac.new(key, f"{lengths}#{texts}".encode("latin-1"), hashlib.sha1).hexdigest()
