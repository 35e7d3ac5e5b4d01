"""Parsers of setting values: text in, typed value out; InvalidValue if the text is not acceptable."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

# Placeholders that templates use for values to be filled in.
_PLACEHOLDER = re.compile(
    r"(?i)^[<\[{]?\s*(change[-_ ]?me|change[-_ ]?it|replace[-_ ]?me|placeholder|todo|x{3,})\b.*$"
)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9-]{1,63})*")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")
# DQM² pastes it into a shell command, where a leading hyphen would begin an option.
RUN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}")
# Clients resolve the segments `.` and `..`, so no page would be below them.
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+"
_PREFIX = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
_USER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
# Prefixes of passwords that Werkzeug has hashed, and the form of a complete hash.
HASH_PREFIXES = ("scrypt:", "pbkdf2:")
_PASSWORD_HASH = re.compile(r"(scrypt(:[0-9]+){3}|pbkdf2:sha[0-9]+(:[0-9]+)?)\$[^$]+\$[0-9a-f]+")
# Stands for the rest of a client's name.
WILDCARD = "*"
_CLIENT_PATTERN = re.compile(r"\*|[A-Za-z0-9_-]{1,64}\*?")
_CONTACT_NAME = re.compile(r"[^\W\d_][^\x00-\x1f\x7f<>\"=;,/:@]{0,59}")
_PHONE = re.compile(r"\+?[0-9][0-9 ()-]{2,28}[0-9]")
_SECRET_MIN_LENGTH = 16
# Stands for the number of a run in a URL.
RUN_PLACEHOLDER = "{run}"
_LINK_HOST = r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?"
_LINK_CHARACTER = "[A-Za-z0-9._~!$&'()*+,=:@/%?#-]"
_LINK = re.compile(f"{_LINK_HOST}(?:/{_LINK_CHARACTER}*)?")
_RUN_LINK = re.compile(f"{_LINK_HOST}/(?:{_LINK_CHARACTER}|{re.escape(RUN_PLACEHOLDER)})*")
_LINK_NAME = re.compile(r"[^\s=;](?:[^=;\x00-\x1f]{0,38}[^\s=;])?")


class InvalidValue(ValueError):
    """Raised for an invalid value; the message says what is wrong and what is accepted."""


def short_name(host: str) -> str:
    """Host name without its domain, in lower case: the basis of pseudonyms and labels."""
    return host.strip().partition(".")[0].lower()


def is_placeholder(text: str) -> bool:
    """Whether the text is a placeholder of a template."""
    return _PLACEHOLDER.match(text) is not None


def string(text: str) -> str:
    """Any text, unchanged."""
    return text


def choice(*words: str) -> Callable[[str], str]:
    """Parser that accepts one of the words."""

    def parse(text: str) -> str:
        if text not in words:
            raise InvalidValue(f"is {text!r}; accepted: {', '.join(words)}")
        return text

    return parse


def boolean(text: str) -> bool:
    """Boolean: true/1/yes/on or false/0/no/off."""
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise InvalidValue(f"is {text!r}; accepted: true or false")


def integer(text: str, *, minimum: int, maximum: int) -> int:
    """Integer within bounds, both inclusive."""
    accepted = f"accepted: an integer from {minimum} to {maximum}"
    if not re.fullmatch(r"-?[0-9]{1,12}", text):
        raise InvalidValue(f"is {text!r}; {accepted}")
    if not minimum <= int(text) <= maximum:
        raise InvalidValue(f"is {text}; {accepted}")
    return int(text)


def seconds(text: str, *, minimum: float, maximum: float) -> float:
    """Decimal number of seconds within bounds, both inclusive."""
    accepted = f"accepted: seconds from {minimum:g} to {maximum:g}"
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise InvalidValue(f"is {text!r}; {accepted}")
    if not minimum <= float(text) <= maximum:
        raise InvalidValue(f"is {text}; {accepted}")
    return float(text)


def host(text: str) -> str:
    """Host name, reduced to its short form."""
    if not _HOST.fullmatch(text):
        raise InvalidValue(f"is {text!r}; accepted: a host name")
    return short_name(text)


def machines(text: str) -> tuple[str, ...]:
    """Distinct host names separated by semicolons, reduced to their short form."""
    names = [name.strip() for name in text.split(";") if name.strip()]
    if not names:
        raise InvalidValue("is empty; accepted: host names separated by semicolons")
    for name in names:
        if not _HOST.fullmatch(name):
            raise InvalidValue(f"contains {name!r}; accepted: host names separated by semicolons")
    shorts = [short_name(name) for name in names]
    if duplicates := [name for name in dict.fromkeys(shorts) if shorts.count(name) > 1]:
        raise InvalidValue(f"contains {duplicates[0]!r} more than once; accepted: each host name once")
    return tuple(shorts)


def listen_address(text: str) -> str:
    """Host name or IP address to listen on."""
    if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", text):
        raise InvalidValue(f"is {text!r}; accepted: an IP address or a host name")
    return text


def postgres_host(text: str) -> str:
    """Host of PostgreSQL, or the directory of its Unix socket."""
    if not re.fullmatch(r"(/[^\s,]*|[A-Za-z0-9.:_-]{1,253})", text):
        raise InvalidValue(f"is {text!r}; accepted: a host name, an IP address, or the directory of a socket")
    return text


def database_name(text: str) -> str:
    """Name of a PostgreSQL database."""
    if not _DATABASE.fullmatch(text):
        raise InvalidValue(f"is {text!r}; accepted: at most 63 letters, digits, _, $ and -")
    return text


def https_url(text: str) -> str:
    """HTTPS URL without credentials, query and fragment; a trailing slash is dropped."""
    if not re.fullmatch(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?", text):
        raise InvalidValue("is invalid; accepted: an https:// URL without user, password, query or fragment")
    return text.rstrip("/")


def optional_link(text: str) -> str:
    """HTTPS URL to link to, without credentials; empty for none."""
    if text and not _LINK.fullmatch(text):
        raise InvalidValue("is invalid; accepted: an https:// URL without user, password and ;")
    return text


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody to call; `phone` and `url` may be empty."""

    name: str
    phone: str = ""
    url: str = ""

    @property
    def phone_url(self) -> str:
        """The phone number as a `tel:` URL."""
        return "tel:" + re.sub(r"[^0-9+]", "", self.phone)


def contacts(text: str) -> tuple[tuple[str, Contact], ...]:
    """Contacts by client: `CLIENT=NAME, PHONE, https://…` separated by semicolons, without duplicates.

    A client may end in `*`; `*` alone stands for all others. Phone and URL may be left out. Errors quote
    nothing, because a contact may hold what was not meant for a log.
    """
    found: dict[str, Contact] = {}
    entries = (entry.strip() for entry in text.split(";"))
    for number, entry in enumerate(filter(None, entries), start=1):
        pattern, _, description = (part.strip() for part in entry.partition("="))
        name, *details = (part.strip() for part in description.split(","))
        phones = [detail for detail in details if _PHONE.fullmatch(detail)]
        urls = [detail for detail in details if _LINK.fullmatch(detail)]
        is_complete = len(phones) + len(urls) == len(details) and len(phones) < 2 and len(urls) < 2
        if not _CLIENT_PATTERN.fullmatch(pattern) or not _CONTACT_NAME.fullmatch(name) or not is_complete:
            raise InvalidValue(
                f"has an invalid entry (entry {number}); accepted: CLIENT=NAME, PHONE, https://… separated "
                "by semicolons, where CLIENT may end in * and PHONE and the URL may be left out"
            )
        if pattern.lower() in found:
            raise InvalidValue(f"has a duplicate client (entry {number})")
        found[pattern.lower()] = Contact(name, "".join(phones), "".join(urls))
    return tuple(found.items())


def run_links(text: str) -> tuple[tuple[str, str], ...]:
    """Names and HTTPS URLs with `{run}` for the number of a run: `NAME=URL` separated by semicolons."""
    links: dict[str, str] = {}
    for entry in (entry.strip() for entry in text.split(";") if entry.strip()):
        name, equals, url = (part.strip() for part in entry.partition("="))
        if not equals or not _LINK_NAME.fullmatch(name):
            raise InvalidValue(f"contains {entry!r}; accepted: NAME=https://… separated by semicolons")
        if RUN_PLACEHOLDER not in url or not _RUN_LINK.fullmatch(url):
            raise InvalidValue(
                f"has an invalid URL for {name!r}; accepted: an https:// URL with {RUN_PLACEHOLDER}, "
                "without user, password and ;"
            )
        if name in links:
            raise InvalidValue(f"contains {name!r} more than once")
        links[name] = url
    return tuple(links.items())


def origin(text: str) -> str:
    """Scheme, host and port of a URL, in lower case as browsers send them; empty for none."""
    if text and not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", text):
        raise InvalidValue(f"is {text!r}; accepted: a scheme and a host, e.g. https://cmsweb.cern.ch")
    return text.lower()


def ca_path(text: str) -> Path | bool:
    """CA file or directory, or as for `verify` of requests: true for the default CAs, false for none."""
    if text == "":
        return True
    if text == "INSECURE-DO-NOT-VERIFY":
        return False
    return path(text)


def path(text: str) -> Path:
    """Path of a file or directory; `~` is expanded."""
    if "\0" in text or not text:
        raise InvalidValue("is empty or contains a null byte; accepted: a path")
    return Path(text).expanduser()


def url_prefix(text: str) -> str:
    """URL path with a leading and no trailing slash; empty for none."""
    prefix = text.strip("/")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise InvalidValue(f"is {text!r}; accepted: path segments joined by /, e.g. dqm/dqm-square")
    return f"/{prefix}" if prefix else ""


def run_keys(text: str) -> tuple[str, ...]:
    """Run keys separated by commas, without duplicates."""
    keys = _listed(text, RUN_KEY, "run keys of A-Z, a-z, 0-9, _, . and -")
    if not keys:
        raise InvalidValue("is empty; accepted: run keys separated by commas")
    return keys


def hosts(text: str) -> tuple[str, ...]:
    """Host names separated by commas, in lower case, without duplicates."""
    return _listed(text.lower(), _HOST, "host names")


def cookie_secret(text: str) -> str:
    """Secret that a cookie can carry."""
    # A semicolon ends a cookie's value, and DQM² splits at the equals sign.
    if re.search(r"[=;\s\x00-\x1f\x7f]", text) or not text.isascii():
        raise InvalidValue(
            "contains =, ;, white space or another character that no cookie can carry, so it can never match"
        )
    return text


def secret(text: str) -> str:
    """Key for hashing or signing."""
    if len(text) < _SECRET_MIN_LENGTH:
        raise InvalidValue(f"is too short; accepted: {_SECRET_MIN_LENGTH} characters or more")
    return text


def users(text: str) -> Mapping[str, str]:
    """Passwords or password hashes by user name."""
    passwords: dict[str, str] = {}
    for number, entry in enumerate(_split(text), start=1):
        user, colon, password = entry.partition(":")
        if not colon or not user or not password:
            raise InvalidValue(
                f"has an entry without user or password (entry {number}); accepted: user:password"
            )
        if not _USER.fullmatch(user):
            raise InvalidValue(
                f"has a user name with characters other than A-Z a-z 0-9 . _ @ - (entry {number})"
            )
        if is_placeholder(password):
            raise InvalidValue(f"still has a placeholder as a password (entry {number})")
        if password.startswith(HASH_PREFIXES) and not _PASSWORD_HASH.fullmatch(password):
            raise InvalidValue(
                f"has an incomplete password hash (entry {number}); a shell may have replaced parts of it"
            )
        if user in passwords:
            raise InvalidValue(f"has a duplicate user name (entry {number})")
        passwords[user] = password
    return passwords


def optional_path(text: str) -> Path | None:
    """Path, or `None` if the text is empty."""
    return path(text) if text else None


def logins(text: str) -> tuple[str, ...]:
    """Login names separated by commas, without duplicates."""
    return _listed(text, _USER, "logins of A-Z a-z 0-9 . _ @ -")


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """IP networks separated by commas, without duplicates; an address is a network of one."""
    found: list[IPv4Network | IPv6Network] = []
    for part in _split(text):
        try:
            found.append(ip_network(part))
        except ValueError:
            raise InvalidValue(
                f"contains {part!r}; accepted: addresses or networks (10.0.0.0/8) separated by commas"
            ) from None
    return tuple(dict.fromkeys(found))


def _listed(text: str, pattern: re.Pattern[str], accepted: str) -> tuple[str, ...]:
    """Parts that match a pattern, separated by commas, without duplicates."""
    parts = _split(text)
    if bad := [part for part in parts if not pattern.fullmatch(part)]:
        raise InvalidValue(f"contains {bad[0]!r}; accepted: {accepted} separated by commas")
    return tuple(dict.fromkeys(parts))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
