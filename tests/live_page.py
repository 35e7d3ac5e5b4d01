"""Texts of the live page: the summary of a run, and the text for the e-log."""

import html
import re

from flask.testing import FlaskClient

_ELOG = '<pre id="elog"'


def summary_of(client: FlaskClient) -> str:
    """The summary of the newest run, in one line."""
    content = client.get("/live/run").text.partition('id="summary"')[2].partition("</section>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", content.partition(_ELOG)[0]).split())


def elog_of(client: FlaskClient, query: str = "") -> str:
    """The text for the e-log about a run, by default the newest."""
    page = client.get(f"/live/run{query}").text
    return html.unescape(page.partition(_ELOG)[2].partition(">")[2].partition("</pre>")[0])
