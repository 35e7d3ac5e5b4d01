"""What the text of a setting may be: a reader a kind, which makes the value of it or raises BadValue."""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

# Words that a template leaves where a value must be put.
_PLACEHOLDER = re.compile(
    r"(?i)^[<\[{]?\s*(change[-_ ]?me|change[-_ ]?it|replace[-_ ]?me|placeholder|todo|x{3,})\b.*$"
)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9-]{1,63})*")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")
_RUN_KEY = re.compile(r"[a-z0-9_]{1,40}")
_PREFIX = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
_USER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_SECRET_MIN_LENGTH = 16


class BadValue(ValueError):
    """A setting's text is not what it must be; the message says what is wrong and what is accepted."""


def short_name(host: str) -> str:
    """A host's name without its domain, in lower case: what identities and labels are made of."""
    return host.strip().partition(".")[0].lower()


def is_placeholder(text: str) -> bool:
    """Whether the text is what a template leaves where a value must be put."""
    return _PLACEHOLDER.match(text) is not None


def anything(text: str) -> str:
    """The text as it is."""
    return text


def choice(*words: str) -> Callable[[str], str]:
    """One of the words."""

    def read(text: str) -> str:
        if text not in words:
            raise BadValue(f"is {text!r}; accepted: {', '.join(words)}")
        return text

    return read


def boolean(text: str) -> bool:
    """True or false."""
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise BadValue(f"is {text!r}; accepted: true or false")


def whole(text: str, *, least: int, most: int, unit: str = "") -> int:
    """A whole number within bounds."""
    accepted = f"accepted: a whole number{unit} from {least} to {most}"
    if not re.fullmatch(r"-?[0-9]{1,12}", text):
        raise BadValue(f"is {text!r}; {accepted}")
    if not least <= int(text) <= most:
        raise BadValue(f"is {text}; {accepted}")
    return int(text)


def seconds(text: str, *, least: float, most: float) -> float:
    """A number of seconds within bounds."""
    accepted = f"accepted: seconds from {least:g} to {most:g}"
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise BadValue(f"is {text!r}; {accepted}")
    if not least <= float(text) <= most:
        raise BadValue(f"is {text}; {accepted}")
    return float(text)


def host(text: str) -> str:
    """A host, by its short name."""
    if not _HOST.fullmatch(text):
        raise BadValue(f"is {text!r}; accepted: a host name")
    return short_name(text)


def machines(text: str) -> tuple[str, ...]:
    """Hosts, each once, by their short names."""
    names = [name.strip() for name in text.split(";") if name.strip()]
    if not names:
        raise BadValue("is empty; accepted: host names separated by semicolons")
    for name in names:
        if not _HOST.fullmatch(name):
            raise BadValue(f"holds {name!r}; accepted: host names separated by semicolons")
    shorts = [short_name(name) for name in names]
    if twice := [name for name in dict.fromkeys(shorts) if shorts.count(name) > 1]:
        raise BadValue(f"holds {twice[0]!r} more than once; accepted: each host name once")
    return tuple(shorts)


def listen_host(text: str) -> str:
    """A name or address to listen on."""
    if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", text):
        raise BadValue(f"is {text!r}; accepted: an address or a host name to listen on")
    return text


def postgres_host(text: str) -> str:
    """PostgreSQL's host, or the folder of its socket."""
    if not re.fullmatch(r"(/[^\s,]*|[A-Za-z0-9.:_-]{1,253})", text):
        raise BadValue(f"is {text!r}; accepted: a host name, an address, or the folder of a socket")
    return text


def database(text: str) -> str:
    """The name of a database."""
    if not _DATABASE.fullmatch(text):
        raise BadValue(f"is {text!r}; accepted: letters, digits, _, $ and -, 63 at most")
    return text


def front_end(text: str) -> str:
    """An address of https, without the slash at its end."""
    if not re.fullmatch(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?", text):
        raise BadValue("is not accepted: an https:// address without user, password, query or fragment is")
    return text.rstrip("/")


def authorities(text: str) -> Path | bool:
    """Where the authorities of a certificate are; as requests has it: true for the usual ones."""
    if text == "":
        return True
    if text == "INSECURE-DO-NOT-VERIFY":
        return False
    return file(text)


def file(text: str) -> Path:
    """A file or folder; `~` is the home of the user."""
    path = Path(text).expanduser()
    if "\0" in text or not text:
        raise BadValue("is empty; accepted: the path of a file")
    return path


def prefix(text: str) -> str:
    """The path before every address, with a slash before it; empty for none."""
    prefix = text.strip("/")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise BadValue(f"is {text!r}; accepted: path parts joined by /, e.g. dqm/dqm-square")
    return f"/{prefix}" if prefix else ""


def run_keys(text: str) -> tuple[str, ...]:
    """Run keys, each once."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    if bad := [key for key in keys if not _RUN_KEY.fullmatch(key)]:
        raise BadValue(f"holds {bad[0]!r}; accepted: run keys of a-z, 0-9 and _ separated by commas")
    if not keys:
        raise BadValue("is empty; accepted: run keys separated by commas")
    return tuple(dict.fromkeys(keys))


def sites(text: str) -> tuple[str, ...]:
    """Host names of sites, in lower case, each once."""
    sites = [site.strip().lower() for site in text.split(",") if site.strip()]
    if bad := [site for site in sites if not _HOST.fullmatch(site)]:
        raise BadValue(f"holds {bad[0]!r}; accepted: host names separated by commas")
    return tuple(dict.fromkeys(sites))


def cookie_secret(text: str) -> str:
    """A secret that fits into a cookie."""
    # A cookie's value ends at a semicolon, and DQM² splits at the equals sign: protocol, "The way in".
    if re.search(r"[=;\s\x00-\x1f\x7f]", text) or not text.isascii():
        raise BadValue(
            "holds =, ;, white space or a character that no cookie can carry, so it can never match"
        )
    return text


def key_secret(text: str) -> str:
    """A secret that keys or signs."""
    if len(text) < _SECRET_MIN_LENGTH:
        raise BadValue(f"is too short; accepted: {_SECRET_MIN_LENGTH} characters or more")
    return text


def users(text: str) -> Mapping[str, str]:
    """Passwords, or hashes of them, by user."""
    users: dict[str, str] = {}
    for number, entry in enumerate((part for part in text.split(",") if part.strip()), start=1):
        user, colon, password = entry.strip().partition(":")
        if not colon or not user or not password:
            raise BadValue(
                f"has an entry without user or password (number {number}); accepted: user:password"
            )
        if not _USER.fullmatch(user):
            raise BadValue(
                f"has a user name with other characters than A-Z a-z 0-9 . _ @ - (number {number})"
            )
        if is_placeholder(password):
            raise BadValue(f"still has a placeholder for a password (number {number})")
        if user in users:
            raise BadValue(f"names a user twice (number {number})")
        users[user] = password
    return users


def optional_file(text: str) -> Path | None:
    """A file, or none."""
    return file(text) if text else None


def logins(text: str) -> tuple[str, ...]:
    """Logins, each once."""
    logins = [login.strip() for login in text.split(",") if login.strip()]
    if bad := [login for login in logins if not _USER.fullmatch(login)]:
        raise BadValue(f"holds {bad[0]!r}; accepted: logins of A-Z a-z 0-9 . _ @ - separated by commas")
    return tuple(dict.fromkeys(logins))


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks, each once; an address is one of itself."""
    networks: list[IPv4Network | IPv6Network] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        try:
            networks.append(ip_network(part))
        except ValueError:
            raise BadValue(
                f"holds {part!r}; accepted: addresses or networks (10.0.0.0/8) separated by commas"
            ) from None
    return tuple(dict.fromkeys(networks))
