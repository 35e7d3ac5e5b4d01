"""Names of clients, apart from the read models: parser processes need them, and start a quarter faster."""

_TAG_SUFFIX = "_dqm_sourceclient-live"


def client_name(tag: str) -> str:
    """A client's name, i.e. its tag without `_dqm_sourceclient-live` (docs/api.md, `get_clients`)."""
    return tag.removesuffix(_TAG_SUFFIX)


def client_tags(name: str) -> tuple[str, ...]:
    """The tags that a client of this name may have."""
    return name, f"{name}{_TAG_SUFFIX}"
