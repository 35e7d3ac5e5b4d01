"""The search field `/find`: redirects to a run, or to the timeline of the runs that match the words."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from flask import Blueprint, redirect, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from dqmsquare_cfg import Cluster
from storage.reader import MirrorReader
from web import databases, query_args
from web.pages import run_search

bp = Blueprint("find", __name__)

_MAX_LENGTH = 200


@bp.get("/find")
def find() -> Response:
    """Redirect to what `q` means. Raises NotFound if it has a word that matches nothing."""
    cluster = query_args.page_cluster()
    text = " ".join((query_args.text("q") or "")[:_MAX_LENGTH].split())
    run = run_search.parse_run(text)
    if not text or (run is not None and run <= query_args.INT_MAX):
        return redirect(url_for("live.page", db=cluster, run=run))
    if run_search.parse_period(text) is not None:
        return _to_timeline(cluster, {"from": text, "to": text})
    params = _params(databases.stale_ok_reader(cluster), text.split())
    if params is None:
        raise NotFound(_nothing_found(cluster, text))
    return _to_timeline(cluster, params)


def _to_timeline(cluster: Cluster, params: Mapping[str, str]) -> Response:
    return redirect(f"{url_for('timeline.page')}?{urlencode({'db': cluster, **params})}")


def _params(reader: MirrorReader, words: Sequence[str]) -> Mapping[str, str] | None:
    """Parameters of the run filter that take one word each, or several; `None` if a word matches nothing."""
    newest = reader.runs.span().highest or 0
    clients = reader.runs.clients(0, newest)
    found: dict[str, list[str]] = {}
    for word in words:
        if run_search.parse_period(word) is not None:
            found["from"] = found["to"] = [word]
        elif run_search.matching(reader.runs.run_keys(), word):
            found.setdefault("run_key", []).append(word)
        elif run_search.matching_releases(reader.runs.cmssw_versions(), word):
            found.setdefault("version", []).append(word)
        elif run_search.matching_clients(clients, word):
            found.setdefault("client", []).append(word)
        else:
            return None
    return {name: " ".join(matching) for name, matching in found.items()}


def _nothing_found(cluster: Cluster, text: str) -> str:
    return (
        f"Nothing in the {cluster} cluster matches “{text}”. "
        "Search for a run, a date, or parts of a run key, a release or a client."
    )
