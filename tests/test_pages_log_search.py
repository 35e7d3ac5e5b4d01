"""The page of the search over logs: its links to lines, its answers to texts and filters of any kind."""

import html
import re

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from benchmarks.crash_corpus import CRASH_LOGS
from dqmsquare_cfg import Settings
from tests.mirrored_cluster import crashed_job, ended_job, write_jobs
from tests.test_pages_crashes import group_url
from web.pages import log_search

RUN = 358_788
LINE = "NULL <pointer> to FEDRawData for FED id 134"
EXCEPTION = CRASH_LOGS[0]


def search(visitor: FlaskClient, text: str, **params: str | int) -> TestResponse:
    return visitor.get("/crashes/search", query_string={"db": "production", "q": text, **params})


def found(response: TestResponse) -> list[tuple[int, str]]:
    """The links to lines, each with the text of its line."""
    assert response.status_code == 200
    links = re.findall(r'#L(\d+)">.*?<code>(.*?)</code>', response.text, re.DOTALL)
    return [(int(number), html.unescape(text)) for number, text in links]


def test_it_leads_to_the_lines(client: FlaskClient, settings: Settings) -> None:
    record = ended_job(RUN, LINE)
    write_jobs(settings, record, ended_job(RUN + 1, "another line"))
    response = search(client, "fedrawdata pointer")
    assert found(response) == [(2, LINE)]
    assert f"/job/{record.document.identity}?db=production#L2" in response.text
    assert "<pointer>" not in response.text


def test_it_finds_a_line_of_which_the_numbers_differ(client: FlaskClient, settings: Settings) -> None:
    write_jobs(settings, ended_job(RUN, LINE))
    other = LINE.replace("134", "7")
    response = search(client, other)
    assert found(response) == []
    assert "With “numbers may differ”" in response.text
    assert found(search(client, other, numbers="any")) == [(2, LINE)]


def test_it_filters(client: FlaskClient, settings: Settings) -> None:
    write_jobs(
        settings, ended_job(RUN, f"{LINE} a"), ended_job(RUN + 1, LINE, client="dt", cmssw_version="15_0_0")
    )
    assert [text for _, text in found(search(client, LINE, to=RUN))] == [f"{LINE} a"]
    for params in ({"client": "dt"}, {"version": "15_0"}, {"from": str(RUN + 1)}):
        assert found(search(client, LINE, **params)) == [(2, LINE)]
    assert "No client of the production cluster contains" in search(client, LINE, client="nobody").text


def test_it_gives_a_page_at_a_time(
    client: FlaskClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_search, "_LOGS_PER_PAGE", 2)
    write_jobs(settings, *(ended_job(RUN + at, LINE) for at in range(3)))
    first = search(client, LINE)
    [older] = re.findall(r'href="(\?[^"]*)">Older logs', first.text)
    last = client.get(f"/crashes/search{html.unescape(older)}")
    assert (len(found(first)), len(found(last))) == (2, 1)
    assert "Newer logs" in last.text
    assert "Older logs" not in last.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Words or a line of a log"),
        ("12", "no word of two or more letters"),
        ("nothing", "No log has this line"),
    ],
)
def test_it_says_why_nothing_is_found(
    client: FlaskClient, settings: Settings, text: str, sentence: str
) -> None:
    write_jobs(settings, ended_job(RUN, LINE))
    response = search(client, text)
    assert found(response) == []
    assert sentence in response.text


@pytest.mark.parametrize(
    "query",
    [{"q": "x" * 401}, {"q": "word\0"}, {"numbers": "some"}, {"skip": "x"}, {"db": "x"}, {"from": "x"}],
)
def test_it_refuses_invalid_parameters(without_data: FlaskClient, query: dict[str, str]) -> None:
    assert without_data.get("/crashes/search", query_string=query).status_code == 400


def test_it_says_that_a_search_took_too_long(
    client: FlaskClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jobs(settings, ended_job(RUN, LINE))
    endless = sa.select(sa.func.pg_sleep(600))
    monkeypatch.setattr("storage.log_search._select_templates", lambda _query: endless)
    response = search(client, LINE)
    assert response.status_code == 200
    assert "The search took too long." in response.text


def test_crashes_lead_to_the_same_line_in_other_logs(client: FlaskClient, settings: Settings) -> None:
    jobs = [crashed_job(RUN + at, EXCEPTION, variation=at) for at in range(2)]
    write_jobs(settings, *jobs)
    for path in (f"/job/{jobs[0].document.identity}", group_url(client)):
        [link] = re.findall(r'href="(/crashes/search[^"]*)"', client.get(path).text)
        assert len(found(client.get(html.unescape(link)))) == 2
    assert "/crashes/search" in client.get("/crashes/").text
