"""Search for runs: by number, date, and parts of run keys, releases and client names."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster, Settings
from server import create_app
from tests.examples import long
from tests.mirrored_cluster import MirroredCluster, job
from web.pages import run_search

RUN = 358_791


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2022, 9, day, hour, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(shared_settings: Settings) -> Iterator[FlaskClient]:
    """A client of the pages of four runs of September 2022, and of a playback run."""
    mirrored = MirroredCluster(shared_settings)
    unit = mirrored.filter_units[0]
    mirrored.write(
        unit,
        job(7, "ecal", at=at(1), run_key="cosmic_run", cmssw_version="12_4_6"),
        job(RUN - 2, "ecal", at=at(14), cmssw_version="12_4_8_39145_39162"),
        job(RUN - 1, "ecalgpu", at=at(15), run_key="pp_run_stage1", cmssw_version="12_4_10"),
        # From 23:30 on 15 September to 01:30 on the 16th in Geneva.
        job(RUN, "ecal", at=at(15, 23), cmssw_version="12_4_10"),
        job(RUN, "csc", at=at(15, 23), exit_code=1, cmssw_version="12_4_10"),
    )
    playback = MirroredCluster(shared_settings, Cluster.PLAYBACK)
    playback.write(playback.filter_units[0], job(9001, "beam"))
    with create_app(shared_settings).test_client() as client:
        yield client


def found(client: FlaskClient, /, **params: str) -> list[int]:
    """The runs of the timeline, which are also those of the statistics."""
    query = urlencode(params)
    timeline = re.findall(r'<th scope="row"><a [^>]*>(\d+)</a>', client.get(f"/timeline/?{query}").text)
    statistics = re.findall(r'<th scope="row"><a [^>]*>(\d+)</a>', client.get(f"/statistics/?{query}").text)
    assert timeline == statistics
    return list(map(int, timeline))


def columns(client: FlaskClient, name: str) -> list[str]:
    return re.findall(r'class="client-head" title="(\w+)"', client.get(f"/timeline/?client={name}").text)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        long("cosmic", [7]),
        ("COSMIC", [7]),
        long("pp", [RUN, RUN - 1, RUN - 2]),
        ("stage1 pp", [RUN - 1]),
        long("hi", []),
        ("%", []),
        ("_run", [RUN, RUN - 1, RUN - 2, 7]),
    ],
)
def test_it_finds_parts_of_run_keys(client: FlaskClient, text: str, runs: list[int]) -> None:
    assert found(client, run_key=text) == runs


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        long("12_4_10", [RUN, RUN - 1]),
        ("CMSSW_12_4_10", [RUN, RUN - 1]),
        ("CMSSW", [RUN, RUN - 1, RUN - 2, 7]),
        ("cmssw_12_4_8", [RUN - 2]),
        ("12.4.8", [RUN - 2]),
        ("39145", [RUN - 2]),
        ("13_0", []),
    ],
)
def test_it_finds_parts_of_releases(client: FlaskClient, text: str, runs: list[int]) -> None:
    assert found(client, version=text) == runs


def test_it_finds_a_client_or_parts_of_clients(client: FlaskClient) -> None:
    assert columns(client, "ecal") == ["ecal"]
    assert columns(client, "ECAL") == ["ecal"]
    assert columns(client, "eca") == ["ecal", "ecalgpu"]
    assert found(client, client="gpu") == [RUN - 1]
    assert found(client, client="beam") == []
    assert found(client, client="eca", bad_only="1") == []


@pytest.mark.parametrize(
    ("first", "last", "runs"),
    [
        ("2022-09-15", "2022-09-15", [RUN, RUN - 1]),
        ("2022-09-16", "2022-09-16", [RUN]),
        ("15.9.2022", "16 Sep 2022", [RUN, RUN - 1]),
        ("2022-09-16", "2022-09-14", [RUN, RUN - 1, RUN - 2]),
        ("2022-09", "2022-09", [RUN, RUN - 1, RUN - 2, 7]),
        ("", "2022-09-14", [RUN - 2, 7]),
        ("2022-09-15", "", [RUN, RUN - 1]),
        ("2022-10", "", []),
        ("2022-09-15", f"run{RUN - 1}", [RUN - 1]),
        (f"run {RUN - 1}", "", [RUN, RUN - 1]),
    ],
)
def test_it_finds_runs_by_date(client: FlaskClient, first: str, last: str, runs: list[int]) -> None:
    assert found(client, **{"from": first, "to": last}) == runs


def test_it_combines_conditions(client: FlaskClient) -> None:
    assert found(client, run_key="pp", version="12_4_10", client="csc") == [RUN]
    assert found(client, **{"run_key": "pp", "from": "2022-09", "to": "2022-09-14"}) == [RUN - 2]


@pytest.mark.parametrize(
    "text", ["x", "2022-13", "31.2.2022", "0001-01-01", "9999-12-31", "99999999999", "-5"]
)
def test_it_rejects_other_bounds(client: FlaskClient, text: str) -> None:
    response = client.get(f"/timeline/?{urlencode({'from': text})}")
    assert response.status_code == HTTPStatus.BAD_REQUEST
    assert "must be a run, e.g. 358788, or a day or month" in response.text


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2022-03-27", 23),
        ("2022-10-30", 25),
        ("2022-10-29", 24),
        ("2022-10", 31 * 24 + 1),
        ("Feb 2024", 29 * 24),
    ],
)
def test_a_period_is_whole_when_clocks_change(text: str, hours: int) -> None:
    period = run_search.parse_period(text)
    assert period is not None
    assert (period.until.astimezone(UTC) - period.since.astimezone(UTC)).total_seconds() == hours * 3600


def test_it_says_what_it_did_not_find(client: FlaskClient) -> None:
    page = client.get("/timeline/?run_key=hi&version=13_0&client=<b>").text
    assert "No run key of the production cluster contains “hi”." in page
    assert "No CMSSW release of the production cluster contains “13_0”." in page
    assert "No client of the production cluster contains “&lt;b&gt;”." in page


def test_it_names_the_cluster_that_has_the_run(client: FlaskClient) -> None:
    for path in ("/?run=9001", "/timeline/?from=9001&to=9001", "/statistics/?from=9001&to=9001"):
        page = client.get(path).text
        assert "Run 9001 is not in the production cluster, but it is on playback:" in page
        assert 'href="/?db=playback&amp;run=9001"' in page
    assert "it is on" not in client.get("/?run=5").text


def test_it_suggests_what_is_there(client: FlaskClient) -> None:
    page = client.get("/timeline/").text
    assert re.findall(r'<option value="([^"]+)">', page) == [
        *("cosmic_run", "pp_run", "pp_run_stage1"),
        *("CMSSW_12_4_10", "CMSSW_12_4_8_39145_39162", "CMSSW_12_4_6"),
        *("csc", "ecal", "ecalgpu"),
    ]
    assert '<option value="CMSSW_12_4_10">' in client.get("/").text


def test_it_shows_releases_and_where_they_change(client: FlaskClient) -> None:
    page = client.get("/timeline/?from=0").text
    rows = re.findall(r'<tr( class="new-release")?><th scope="row"><a [^>]*>(\d+)</a>', page)
    assert rows == [
        ("", str(RUN)),
        (' class="new-release"', str(RUN - 1)),
        (' class="new-release"', str(RUN - 2)),
        ("", "7"),
    ]
    assert re.findall(r'<td class="release"[^>]*>([^<]*)', page)[0] == "12_4_10"
    assert re.search(r'data-head="Release"[^>]*><span [^>]*>12_4_10<', client.get("/statistics/").text)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", "/?db=production"),
        ("358788", "/?db=production&run=358788"),
        (" run358788 ", "/?db=production&run=358788"),
        ("2022-09-15", "/timeline/?db=production&from=2022-09-15&to=2022-09-15"),
        ("15 Sep 2022", "/timeline/?db=production&from=15+Sep+2022&to=15+Sep+2022"),
        ("Cosmic", "/timeline/?db=production&run_key=Cosmic"),
        ("CMSSW_12_4_10", "/timeline/?db=production&version=CMSSW_12_4_10"),
        ("csc", "/timeline/?db=production&client=csc"),
        (
            "pp 12_4 2022-09 csc",
            "/timeline/?db=production&run_key=pp&version=12_4&from=2022-09&to=2022-09&client=csc",
        ),
    ],
)
def test_its_search_field_leads_there(client: FlaskClient, text: str, target: str) -> None:
    response = client.get(f"/find?{urlencode({'db': 'production', 'q': text})}")
    assert response.status_code == HTTPStatus.FOUND
    found = re.fullmatch(r"/(timeline/)?\?(.*)", response.location)
    assert found
    assert response.location.partition("?")[0] == target.partition("?")[0]
    assert sorted(found[2].split("&")) == sorted(target.partition("?")[2].split("&"))
    assert client.get(response.location).status_code == HTTPStatus.OK


@pytest.mark.parametrize("text", ["nonsense", "pp nonsense", "99999999999", "<script>", "//evil.example"])
def test_its_search_field_says_that_nothing_matches(client: FlaskClient, text: str) -> None:
    response = client.get(f"/find?{urlencode({'q': text})}", headers={"Accept": "text/html"})
    assert response.status_code == HTTPStatus.NOT_FOUND
    assert "Nothing in the production cluster matches" in response.text
    assert "<script>" not in response.text.partition("<h1>")[2]
