"""Addresses of earlier mirrors, which people have pasted into issues, and the pages that they lead to."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

import dqmsquare_cfg
from dqm2.pseudonyms import Pseudonymizer
from dqm2.records import DocumentVersion
from dqmsquare_cfg import Settings, SettingsError
from server import create_app
from tests.examples import core_of
from tests.mirrored_cluster import MirroredCluster, job

RUN = 378_366
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORMER, TODAY = "/dqm/dqm-square-k8", "/dqm/dqm-square"


def id_of_job(host: str, pid: int = 725_238) -> str:
    return f"dqm-source-state-run{RUN:06d}-host{host}-pid{pid:06d}"


def write_job(mirrored: MirroredCluster, settings: Settings, host: str) -> str:
    """Write the job that has the id of a host; returns its opaque id."""
    identity = Pseudonymizer(settings.pseudonym_secret).for_document(host, id_of_job(host))
    record = job(RUN, "beam")
    mirrored.write(host, replace(record, document=DocumentVersion(identity, 1, record.document.updated_at)))
    return str(identity)


@pytest.fixture(scope="module")
def settings(shared_settings: Settings) -> Settings:
    """The settings of all tests of this module, whose jobs do not disturb each other."""
    return shared_settings


@pytest.fixture(scope="module")
def mirrored(settings: Settings) -> MirroredCluster:
    """The production cluster."""
    return MirroredCluster(settings)


@pytest.fixture(scope="module")
def client(settings: Settings) -> FlaskClient:
    """A client of the application."""
    return create_app(settings).test_client()


@pytest.fixture(scope="module")
def moved(settings: Settings) -> FlaskClient:
    """A client of a server that has moved from one prefix to another."""
    return create_app(
        replace(settings, server_url_prefix=TODAY, server_former_url_prefix=FORMER)
    ).test_client()


@pytest.mark.parametrize("blank", core_of(["", " ", "\n", ").", "'>", "**"], "", ")."))
def test_a_pasted_log_leads_to_the_page_of_its_job(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings, blank: str
) -> None:
    unit = mirrored.filter_units[0]
    job_id = write_job(mirrored, settings, unit)
    query = {"what": "get_logs", "db": "production", "id": f" {id_of_job(unit)}{blank}"}
    response = client.get("/api", query_string=query)
    assert (response.status_code, response.location) == (302, f"/job/{job_id}?db=production#log")
    assert client.get(response.location).status_code == 200


@pytest.mark.parametrize("path", ["/", "/timeline/", "/api", "//evil.example/", "/\\evil.example"])
def test_an_address_pasted_out_of_html_leads_to_the_one_that_was_meant(
    client: FlaskClient, path: str
) -> None:
    response = client.get(f"{path}?what=get_logs&amp;db=playback&amp;run=378366")
    assert response.status_code in (302, 308)
    assert response.location.startswith("/")
    assert response.location[1:2] not in ("/", "\\")
    if path in ("/", "/timeline/", "/api"):
        assert response.location == f"{path}?what=get_logs&db=playback&run=378366"
    assert client.get("/cluster/?db=playback&x=%26amp;").status_code == 200


@pytest.mark.parametrize("punctuation", core_of([".", ")", ").", "%22", "'", "%20"], ").", "%20"))
def test_punctuation_behind_a_run_is_ignored(
    client: FlaskClient, mirrored: MirroredCluster, punctuation: str
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"), job(RUN + 1, "beam"))
    page = client.get(f"/?db=production&run={RUN}{punctuation}")
    assert page.status_code == 200
    assert f"<title>Run {RUN} " in page.text
    assert client.get(f"/?db=production&run={punctuation.replace('%20', '-')}").status_code == 400


def test_a_pasted_log_of_an_unknown_job_leads_to_its_run(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    write_job(mirrored, settings, mirrored.filter_units[0])
    query = {"what": "get_logs", "db": "production", "id": id_of_job(mirrored.filter_units[0], pid=1)}
    page = client.get("/api", query_string=query, headers=BROWSER)
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert f'href="/?db=production&amp;run={RUN}"' in page.text
    script = client.get("/api", query_string=query)
    assert (script.status_code, script.mimetype) == (404, "text/plain")
    assert script.text == "there is no job with this id"


def test_hosts_can_not_be_found_out_by_ids(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    """An unknown job of a real host is answered like the known job under a host that does not exist."""
    host = mirrored.filter_units[0]
    write_job(mirrored, settings, host)
    for headers in ({}, BROWSER):
        answers = {
            client.get(
                "/api", query_string={"what": "get_logs", "db": "production", "id": text}, headers=headers
            ).text
            for text in (id_of_job(host, pid=1), id_of_job("dqmfu-c2b99-99-99"), id_of_job("a.b"))
        }
        assert len(answers) == 1
        assert not any(host in answer for answer in answers)


@pytest.mark.parametrize(
    "text",
    [
        "dqm-source-state-run99999999999-hosta-pid1",
        "dqm-source-state-run1-host-pid1",
        "dqm-source-state-run1-hosta",
        "dqm-files-bu-analyze_files-run1",
        "dqm-source-state-run١-hosta-pid1",
        "dqm-source-state-run1-hosta-pid1'--",
    ],
)
def test_no_job_has_another_id(client: FlaskClient, text: str) -> None:
    response = client.get("/api", query_string={"what": "get_logs", "db": "production", "id": text})
    assert (response.status_code, response.text) == (404, "there is no job with this id")


def test_the_log_of_a_job_is_not_looked_for_in_the_other_cluster(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    unit = mirrored.filter_units[0]
    write_job(mirrored, settings, unit)
    query = {"what": "get_logs", "db": "playback", "id": id_of_job(unit)}
    assert client.get("/api", query_string=query).status_code == 404


@pytest.mark.parametrize(
    ("file", "page"),
    [
        ("content_parser_productionPARSER_run362293PARSER_job28.log", "/?db=production&run=362293"),
        ("tmp/content_parser_productionPARSER_run362293PARSER_job28.log", "/?db=production&run=362293"),
        ("content_parser_playbackPARSER_run503350", "/?db=playback&run=503350"),
        ("a/b_content_parser_playbackPARSER_run0503350.html", "/?db=playback&run=503350"),
    ],
)
def test_a_pasted_file_of_a_run_leads_to_its_page(client: FlaskClient, file: str, page: str) -> None:
    response = client.get(f"/tmp/{file}")
    assert (response.status_code, response.location) == (302, page)


@pytest.mark.parametrize(
    "path",
    [
        "/tmp/",
        "/tmp/session_secret",
        "/tmp/content_parser_production",
        "/tmp/content_parser_lookareaPARSER_run362293",
        "/tmp/content_parser_productionPARSER_run99999999999",
        "/tmp/../tmp/pseudonym_secret",
        "/log/",
        "/log/server.log",
        "/log/content_parser_productionPARSER_run362293",
    ],
)
def test_files_of_the_mirror_are_gone(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404
    page = client.get(path, headers=BROWSER)
    assert (page.status_code, page.mimetype) == (404, "text/html")


@pytest.mark.parametrize(
    "rest",
    [
        "/",
        "/?db=playback&run=503350",
        "/timeline/?db=production",
        "/api?what=get_logs&id=dqm-source-state-run359813-hostfu-c2f11-11-03-pid038886&db=production",
        "/tmp/content_parser_playbackPARSER_run503350",
        "/cr/",
        "/nowhere%20at%20all?x=%26%2B+y",
    ],
)
def test_the_former_prefix_leads_to_todays(moved: FlaskClient, rest: str) -> None:
    response = moved.get(f"{FORMER}{rest}")
    assert (response.status_code, response.location) == (302, f"{TODAY}{rest}")


def test_the_former_prefix_may_lack_its_slash(moved: FlaskClient) -> None:
    assert moved.get(FORMER).location == f"{TODAY}/"
    assert moved.get(f"{FORMER}?run=1").location == f"{TODAY}/?run=1"


def test_a_form_sent_below_the_former_prefix_is_sent_again(moved: FlaskClient) -> None:
    response = moved.post(f"{FORMER}/cr/exe", data={"what": "restart_hltd"})
    assert (response.status_code, response.location) == (307, f"{TODAY}/cr/exe")


@pytest.mark.parametrize("today", ["", TODAY])
@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "///evil.example/x",
        "/\\evil.example",
        "/%2Fevil.example",
        "/%5C%5Cevil.example",
        "/%0d%0aSet-Cookie:x",
    ],
)
def test_the_former_prefix_leads_to_no_other_host(settings: Settings, today: str, path: str) -> None:
    moved = create_app(replace(settings, server_url_prefix=today, server_former_url_prefix=FORMER))
    client = moved.test_client()
    location = f"{FORMER}{path}"
    while location.startswith(FORMER):
        response = client.get(location, headers={"Host": "evil.example"})
        # A path with a line break has no address.
        location = response.location or "/"
        assert location.startswith("/")
        assert location[1:2] not in ("/", "\\")
        assert "set-cookie" not in response.headers


def test_the_former_prefix_is_a_setting(client: FlaskClient) -> None:
    assert client.get(f"{FORMER}/").status_code == 404


@pytest.mark.parametrize("former", ["dqm", "dqm/dqm-square", "/dqm/dqm-square/"])
def test_the_former_prefix_must_not_contain_todays(environment: dict[str, str], former: str) -> None:
    given = {**environment, "SERVER_URL_PREFIX": TODAY, "SERVER_FORMER_URL_PREFIX": former}
    with pytest.raises(SettingsError, match="SERVER_FORMER_URL_PREFIX"):
        dqmsquare_cfg.load(given)
    assert (
        dqmsquare_cfg.load({**given, "SERVER_FORMER_URL_PREFIX": FORMER}).server_former_url_prefix == FORMER
    )


@pytest.mark.parametrize(
    "number",
    core_of(["+378366+", "%20378366", "378366%09", "%2B378366", "378366%0A"], "+378366+", "%2B378366"),
)
def test_blanks_around_a_number_are_taken_off(
    client: FlaskClient, mirrored: MirroredCluster, number: str
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    query = f"db=production&run={number}&from={number}&to={number}"
    for what in ("get_run", "get_clients", "get_runs"):
        assert '"beam"' in client.get(f"/api?what={what}&{query}").text
    assert client.get(f"/?{query}").status_code == 200
