"""Names whose values are secrets: `DB_PASSWORD_01`, `dbpass`, `accessToken`, but not CMSSW's `EDGetToken`.

A name is split into words at underscores, dots, hyphens, digits and capitals. A word like `password` makes
any name secret, unless a later word says that it is about the secret (`password_file`). `pass`, `pw` and
`token` have other uses: they must be the last word, or the last before a qualifier.
"""

import re
from functools import lru_cache

# Names recur in every log.
_CACHE_SIZE = 1024

# Longer words first: the alternatives are tried in order.
_STRONG = (
    rb"pass(?:word|wd|phrase|code)|passwd|secret|cookie|authorization|authz|credential|krb5ccname"
    rb"|(?:api|access|private|session|signing|encryption|ssh|auth|master|account|shared|unique|frontier)[_-]?key"
    rb"|session[_-]?id|claimid|cap\.(?:sym|msg)|amz-signature|cms-authn?-(?:hmac|cert)"
    # Session cookies by their well-known names.
    rb"|_shibsession_|mod_auth_openidc_(?:session|state)|phpsessid|connect\.sid|_oauth2_proxy"
    rb"|(?:gitlab|grafana|keycloak|laravel|mattermost|indico|jenkins|openshift)[a-z_]{0,12}session"
)
_WEAK = rb"pwd|pass|pw|token"
NAMES = _STRONG + rb"|" + _WEAK

_WEAK_NAME = re.compile(rb"(?i)(?:" + _WEAK + rb")(?!word|wd|phrase|code)")
_STRONG_NAME = re.compile(rb"(?i)" + _STRONG)
# Continuations of a word in its own case.
_LOWER = re.compile(rb"[a-z]*")
_UPPER = re.compile(rb"[A-Z]*(?![a-z])")
_WORDS = re.compile(rb"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_CONTINUATIONS = frozenset((b"", b"s", b"key", b"val", b"value", b"id", b"hash", b"str", b"string", b"text"))
# Later words that make a name one about a secret rather than of one.
_ABOUT = frozenset(
    (
        b"file files path dir directory folder location count length len size min max type kind name policy "
        b"age expiry expires expired expiration lifetime timeout ttl required is has hint prompt field "
        b"format algorithm url uri host port authentication verification check version provider manager "
        b"helper error errors idx index callback stdin fd"
    ).split()
)
_QUALIFIERS = frozenset(
    (
        b"old new prod production dev devel test int online offline cms db rw ro ori orcon omds user admin "
        b"read write readonly writer reader p5 val value str string text key id hash a b x y z"
    ).split()
)
# Words before `token` in CamelCase that make it a credential; in CMSSW a token is a handle of the event.
_TOKEN_KINDS = frozenset(
    (
        b"access auth authentication authorization refresh id csrf xsrf bearer api session user private "
        b"secret security oauth jwt deploy app client login personal job bot ci runner trigger registration "
        b"vault gitlab github slack web webhook service sci iam wlcg grid eos push device upload reset "
        b"invite renew sso saml x my csrfmiddleware"
    ).split()
)
# Words directly before `pass` and `pw` that make them a password.
_ACCOUNT_KINDS = frozenset(
    (
        b"db user usr my smtp ftp ldap sql http https proxy root admin mail web key store keystore "
        b"truststore login ora oracle pg mysql cfg net svn git bind sudo unix master app api srv server "
        b"client auth acc account"
    ).split()
)


@lru_cache(_CACHE_SIZE)
def is_weak(name: bytes) -> bool:
    """Whether a name that begins with a word of NAMES begins with one that has other uses."""
    return _WEAK_NAME.match(name) is not None and _STRONG_NAME.match(name) is None


@lru_cache(_CACHE_SIZE)
def is_secret_name(name: bytes, offset: int) -> bool:
    """Whether the value of a name is a secret; a word of NAMES is at `offset` of it."""
    prefix, rest = name[:offset], name[offset:]
    if strong := _STRONG_NAME.match(rest):
        continuation, tail = _continuation(strong[0], rest[strong.end() :])
        return continuation in _CONTINUATIONS and not _ABOUT.intersection(_words(tail))
    if weak := _WEAK_NAME.match(rest):
        continuation, tail = _continuation(weak[0], rest[weak.end() :])
        words = _words(tail)
        if continuation not in _CONTINUATIONS - {b"s"} or not all(
            word.isdigit() or word in _QUALIFIERS for word in words
        ):
            return False
        return _is_secret_token(prefix, weak[0]) if weak[0].lower() == b"token" else _is_pass(prefix, weak[0])
    return False


def _continuation(word: bytes, rest: bytes) -> tuple[bytes, bytes]:
    """The letters that continue a word in its own case, in lower case, and the rest of the name."""
    pattern = _UPPER if word.isupper() else _LOWER
    match = pattern.match(rest)
    end = match.end() if match else 0
    return rest[:end].lower(), rest[end:]


def _words(name: bytes) -> list[bytes]:
    return [word.lower() for word in _WORDS.findall(name)]


def _is_secret_token(prefix: bytes, word: bytes) -> bool:
    if not prefix[-1:].isalpha():
        return True
    words = _words(prefix[re.search(rb"[A-Za-z]*$", prefix).start() :])  # type: ignore[union-attr]
    if (word.isupper() and prefix[-1:].isupper()) or word[:1].islower():
        # One word: `authtoken`, `CSRFTOKEN`.
        return words[-1] in _TOKEN_KINDS
    # `eleIdToken` is a handle, `idToken` a credential.
    return words[-1] in _TOKEN_KINDS and (words[-1] not in (b"id", b"user", b"x") or len(words) == 1)


def _is_pass(prefix: bytes, word: bytes) -> bool:
    if not prefix[-1:].isalpha():
        return True
    return _words(prefix)[-1] in _ACCOUNT_KINDS and (word[:1].isupper() or prefix[-1:].islower())
