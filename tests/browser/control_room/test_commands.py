"""Every command on the Control Room's page: its effect on the simulated clusters, and its messages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from dqmsquare_cfg import Cluster, Settings
from simulator.control_commands import FFF_RELEASE, CommandMode
from simulator.daemons import DaemonKind
from simulator.fault_injection import FaultKind, RequestKind
from simulator.http_types import Response
from simulator.simulator import Simulator
from tests.browser.conftest import PHONE, pass_time
from tests.browser.control_room import confirm, enter, item, press
from tests.control_room import (
    BEAM,
    GATEWAY,
    OTHER_UNIT,
    PRODUCTION_UNIT,
    UNIT,
    commands_sent,
)
from tests.mirrored_cluster import MirroredCluster, job

CLIENTS = ("beam", "csc", "dt", "ecal")
PRODUCTION = "Production cluster"
BOTH = "Both clusters"
OK = "DQM² says Ok."
FAILED = "What it did before that is unknown. Check its effect before you try again."


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with the release of the daemons that was tested."""
    return replace(settings, tested_fff_release=FFF_RELEASE)


@contextmanager
def requests_of(page: Page) -> Iterator[list[Request]]:
    """Record the requests of a page."""
    requests: list[Request] = []

    def record(request: Request) -> None:
        requests.append(request)

    page.on("request", record)
    try:
        yield requests
    finally:
        page.remove_listener("request", record)


@pytest.fixture
def signed_in(page: Page, url: str) -> Page:
    """The Control Room's page."""
    enter(page, url)
    return page


@pytest.mark.long
def test_it_shows_machines_versions_and_releases(signed_in: Page) -> None:
    all_ = item(signed_in, "Whole cluster")
    expect(press(all_, "Machines known")).to_contain_text(f"{OTHER_UNIT}.cms")
    expect(press(all_, "Cluster status").get_by_role("row", name=UNIT)).to_contain_text("up")
    expect(press(item(signed_in, "Machines", cluster=BOTH), "All machines")).to_contain_text("lookarea_c2a06")
    versions = item(signed_in, "Versions", cluster=BOTH)
    expect(press(versions, "CMSSW").locator("strong").first).to_have_text("CMSSW:")
    expect(versions.locator("pre strong").first).to_have_text("Playback:")
    for button, package in (
        ("HLTD versions", "hltd-2.12.0-1.x86_64"),
        ("DQM² versions", f"fff_dqmtools-{FFF_RELEASE}-1.noarch"),
    ):
        output = press(versions, button)
        expect(output.get_by_role("columnheader", name=package)).to_be_visible()
        expect(output).to_contain_text("The machines have different versions.")
        expect(output.get_by_role("row", name=f"{OTHER_UNIT}.cms")).to_contain_text("differs")
        expect(output.get_by_role("row", name=f"{UNIT}.cms")).not_to_contain_text("differs")
        expect(output.get_by_role("row", name="dqmfu-c2b05-45-01")).to_contain_text("no version: ssh:")
    expect(versions).to_contain_text(f"The mirror was tested with DQM² {FFF_RELEASE}.")


def test_it_starts_a_playback_run(signed_in: Page, simulator: Simulator) -> None:
    section = item(signed_in, "Simulator")
    configuration = press(section, "Configuration")
    expect(configuration).to_contain_text("pp_run")
    expect(configuration.get_by_role("link", name="run256936 in OMS")).to_have_attribute(
        "href", "https://cmsoms.cern.ch/cms/runs/report?cms_run=256936&cms_run_sequence=GLOBAL-RUN"
    )
    press(section, "Choose a run")
    section.get_by_role("combobox", name="Run", exact=True).select_option("run355443")
    expect(section.get_by_role("link", name="run355443 in OMS")).to_have_attribute(
        "href", "https://cmsoms.cern.ch/cms/runs/report?cms_run=355443&cms_run_sequence=GLOBAL-RUN"
    )
    section.get_by_role("combobox", name="Run key").select_option("cosmic_run")
    section.get_by_label("LS").fill("44")
    section.get_by_role("button", name="Start").click()
    dialog = signed_in.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(
        f"Start run355443 as cosmic_run, 44 LS, on {GATEWAY} (playback)?"
    )
    dialog.get_by_role("button", name="Start").click()
    expect(section).to_contain_text(OK)
    run = simulator.world.current_run(Cluster.PLAYBACK)
    assert run is not None
    assert (run.source_run, run.run_key, run.lumisections) == (355443, "cosmic_run", 44)
    section.get_by_role("button", name="Show simulator configuration").click()
    expect(section.locator("dl")).to_contain_text("run355443")


def test_a_phone_shows_all_machines_with_their_whole_names(
    signed_in: Page, playback: MirroredCluster, mirrored: MirroredCluster
) -> None:
    signed_in.set_viewport_size(PHONE)
    machines = signed_in.locator(".machine-freshness")
    clusters = (playback, mirrored)
    expect(machines).to_have_count(sum(1 + len(cluster.filter_units) for cluster in clusters))
    assert (
        machines.evaluate_all("all => all.map(at => at.clientWidth > 0 && at.scrollWidth <= at.clientWidth)")
        == [True] * machines.count()
    )


def test_it_alerts_and_names_the_run_that_a_command_may_end_in_its_question(
    signed_in: Page, playback: MirroredCluster, mirrored: MirroredCluster
) -> None:
    expect(signed_in.locator(".freshness-bar")).to_have_count(2)
    expect(signed_in.locator(".machine-freshness .ago").first).to_contain_text("ago")
    mirrored.write(PRODUCTION_UNIT, job(358_791, "dt", exit_code=-11))
    expect(signed_in.locator("#toasts")).to_contain_text("dt crashed in run 358791 (production)")
    playback.write(UNIT, job(500_012, "beam"), job(500_012, "csc", exit_code=-11))
    expect(signed_in.locator("#toasts")).to_contain_text("csc crashed in run 500012 (playback)")
    for cluster in ("production", "playback"):
        expect(signed_in.locator(f".incidents[data-cluster={cluster}]")).to_have_count(1)

    machine, section = item(signed_in, UNIT), item(signed_in, "Simulator")
    dialog = signed_in.get_by_role("dialog")
    expect(machine).to_contain_text("run 500012: 1 crashed, 1 running")
    machine.get_by_role("button", name="Restart HLTD").click()
    expect(dialog.get_by_role("heading")).to_have_text(
        f"Restart HLTD on {UNIT} (playback) during run 500012?"
    )
    dialog.get_by_role("button", name="Cancel").click()
    press(section, "Choose a run")
    section.get_by_role("button", name="Start").click()
    expect(dialog.get_by_role("heading")).to_contain_text(f"on {GATEWAY} (playback) in place of run 500012?")
    dialog.get_by_role("button", name="Cancel").click()


@pytest.mark.long
def test_it_restarts_a_service_offers_its_logs_and_asks_before_it_repeats_a_change(
    signed_in: Page, simulator: Simulator
) -> None:
    section = item(signed_in, UNIT)
    question = f"Restart HLTD on {UNIT} (playback)?"
    output = confirm(signed_in, section, "Restart HLTD", question)
    expect(output).to_contain_text(OK)
    assert len(simulator.world.daemons.get(DaemonKind.HLTD, UNIT).starts) == 2
    output.get_by_role("button", name="Show HLTD logs").click()
    expect(output.get_by_label("Log 1 of").locator("pre")).to_contain_text("Service started")
    simulator.recorder.clear()

    output = confirm(signed_in, section, "Restart HLTD", question)
    expect(output).to_contain_text("shifter requested this")
    expect(output).to_contain_text("Send it again?")
    assert commands_sent(simulator) == []
    output.get_by_role("button", name="Send again").click()
    expect(output).to_contain_text(OK)
    assert [command["what"] for command in commands_sent(simulator)] == ["restart_hltd"]
    last_hour = signed_in.get_by_role("region", name="Last hour")
    expect(last_hour.get_by_text("HLTD restarted on dqmfu-c2b01-.., by shifter")).to_have_count(2)
    expect(last_hour.get_by_text("shifter: restart HLTD on dqmfu-c2b01-..")).to_have_count(1)


def test_it_changes_production_only_after_the_machine_s_name_is_typed(
    signed_in: Page, simulator: Simulator
) -> None:
    section = item(signed_in, PRODUCTION_UNIT, cluster=PRODUCTION)
    section.get_by_role("button", name="Restart DQM²").click()
    dialog = signed_in.get_by_role("dialog")
    yes = dialog.get_by_role("button", name="Restart", exact=True)
    expect(dialog).to_contain_text("This is production.")
    for typed in ("", PRODUCTION_UNIT[:-1], UNIT):
        dialog.get_by_role("textbox").fill(typed)
        expect(yes).to_be_disabled()
        dialog.get_by_role("textbox").press("Enter")
        expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    assert commands_sent(simulator) == []
    question = f"Restart DQM² on {PRODUCTION_UNIT} (production)?"
    output = confirm(signed_in, section, "Restart DQM²", question, typed=PRODUCTION_UNIT)
    expect(output).to_contain_text(OK)
    assert len(simulator.world.daemons.get(DaemonKind.FFF, PRODUCTION_UNIT).starts) == 2
    expect(output.get_by_role("button", name="Show DQM² logs")).to_be_visible()

    press(section, "Clients").get_by_role("switch", name=BEAM).click()
    expect(dialog.get_by_role("heading")).to_have_text(
        f"Switch {BEAM} off on {PRODUCTION_UNIT} (production)?"
    )
    yes = dialog.get_by_role("button", name="Switch")
    expect(yes).to_be_disabled()
    dialog.get_by_role("textbox").fill(PRODUCTION_UNIT)
    yes.click()
    expect(section.locator(".switches")).to_contain_text(OK)
    assert simulator.world.switches.is_on(PRODUCTION_UNIT, BEAM, is_playback=False) is False


@pytest.mark.clock
def test_it_switches_clients_and_reads_their_state_back(signed_in: Page, simulator: Simulator) -> None:
    section = item(signed_in, UNIT)
    switch = press(section, "Clients").get_by_role("switch", name=BEAM)
    # So that it is pending until the test has seen it.
    signed_in.clock.pause_at(datetime.now(UTC) + timedelta(minutes=5))
    expect(switch).to_have_attribute("aria-checked", "true")
    switch.click()
    # The switch does not claim a state that was not read, and can't be pressed meanwhile.
    expect(section.locator("form[data-pending]")).to_be_visible()
    signed_in.clock.run_for(100)
    expect(switch).to_be_disabled()
    expect(switch).to_have_attribute("aria-checked", "true")
    pass_time(signed_in, section.get_by_text(f"DQM² reports {BEAM} as off.").is_visible)
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(switch).to_be_enabled()
    assert simulator.world.switches.is_on(UNIT, BEAM, is_playback=True) is False

    # DQM² says Ok, and changes nothing.
    simulator.control.handlers["change_dqm_client"] = lambda _request: Response(200, b"Ok")
    switch.click()
    expect(section.locator(".switches")).to_contain_text(OK)
    pass_time(signed_in, section.get_by_text(f"DQM² still reports {BEAM} as off.").is_visible)
    expect(switch).to_have_attribute("aria-checked", "false")
    assert [command["what"] for command in commands_sent(simulator)][-3:] == ["get_dqm_clients"] * 3


@pytest.mark.long
@pytest.mark.clock
def test_a_switch_can_be_used_again_though_its_state_can_not_be_read(signed_in: Page) -> None:
    section = item(signed_in, UNIT)
    switch = press(section, "Clients").get_by_role("switch", name=BEAM)
    signed_in.clock.pause_at(datetime.now(UTC) + timedelta(minutes=5))
    # As if each response broke off.
    signed_in.evaluate("() => { Response.prototype.text = () => Promise.reject(new TypeError()); }")
    switch.click()
    expect(section.locator("form[data-pending]")).to_be_visible()
    pass_time(signed_in, section.get_by_text(f"The state of {BEAM} could not be read.").is_visible)
    expect(switch).to_be_enabled()


def test_it_searches_and_downloads_logs(signed_in: Page, simulator: Simulator) -> None:
    section = item(signed_in, UNIT)
    output = press(section, "HLTD logs")
    viewer = output.get_by_label("Log 1 of 2")
    expect(viewer.get_by_text("Log 1 of 2")).to_be_visible()
    viewer.get_by_role("searchbox").fill("SERVICE STARTED")
    expect(viewer.get_by_role("status")).to_have_text("1 found")
    viewer.get_by_role("searchbox").press("Enter")
    expect(viewer.get_by_role("status")).to_have_text("1 of 1")
    with signed_in.expect_download() as download:
        viewer.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"{UNIT}-hltd_logs-1.log"
    saved = Path(download.value.path()).read_text()
    assert saved == viewer.locator("pre").text_content()
    simulator.machine(UNIT).is_ssh_broken = True
    expect(press(section, "DQM² logs")).to_contain_text("This looks like an ssh error, not like a log.")


@pytest.mark.long
def test_it_reports_what_dqm2_can_t_do(signed_in: Page, simulator: Simulator) -> None:
    section = item(signed_in, "Production runs", cluster=PRODUCTION)
    for field in section.get_by_label("Run").all():
        field.fill("run358788")
    expect(press(section, "Look up")).to_contain_text("DQM² failed: it answered with status 500.")
    output = confirm(
        signed_in, section, "Copy to playback", "Copy 100 LS of run358788 from production to playback?"
    )
    expect(output).to_contain_text(FAILED)
    assert [command["what"] for command in commands_sent(simulator)] == [
        "get_production_runs",
        "copy_production_runs",
    ]


@pytest.mark.long
def test_it_claims_nothing_if_the_released_dqm2_fails(signed_in: Page, simulator: Simulator) -> None:
    simulator.control.mode = CommandMode.RELEASED
    section = item(signed_in, UNIT)
    for name in ("HLTD", "DQM²"):
        output = confirm(signed_in, section, f"Restart {name}", f"Restart {name} on {UNIT} (playback)?")
        expect(output).to_contain_text(FAILED)
        expect(output).not_to_contain_text("Ok")
    simulator_part = item(signed_in, "Simulator")
    press(simulator_part, "Choose a run")
    simulator_part.get_by_label("Run key").select_option("cosmic_run")
    simulator_part.get_by_role("button", name="Start").click()
    signed_in.get_by_role("dialog").get_by_role("button", name="Start").click()
    expect(simulator_part).to_contain_text(FAILED)
    assert simulator.world.current_run(Cluster.PLAYBACK) is None
    simulator_part.get_by_role("button", name="Show simulator configuration").click()
    expect(simulator_part.locator("dl")).to_contain_text("cosmic_run")
    # Reads and switches work in the released version, too.
    switch = press(section, "Clients").get_by_role("switch", name=BEAM)
    switch.click()
    expect(section.locator(".switches")).to_contain_text(OK)
    for heading, cluster, button in (
        ("Whole cluster", PRODUCTION, "Cluster status"),
        ("Whole cluster", PRODUCTION, "Machines known"),
        ("Versions", BOTH, "HLTD versions"),
        ("Versions", BOTH, "DQM² versions"),
        ("Versions", BOTH, "CMSSW"),
        (PRODUCTION_UNIT, PRODUCTION, "HLTD logs"),
        (PRODUCTION_UNIT, PRODUCTION, "DQM² logs"),
    ):
        expect(press(item(signed_in, heading, cluster=cluster), button)).to_contain_text("DQM² responded.")


@pytest.mark.long
def test_it_explains_errors_while_dqm2_is_down(signed_in: Page, simulator: Simulator) -> None:
    simulator.stop()
    for heading, button in (
        (UNIT, "Clients"),
        ("Simulator", "Configuration"),
        ("Whole cluster", "Cluster status"),
    ):
        output = press(item(signed_in, heading), button)
        expect(output).to_contain_text("DQM² can't be reached: nothing was sent.")
    simulator.start()
    expect(press(item(signed_in, UNIT), "Clients").get_by_role("switch", name=BEAM)).to_be_visible()


def test_it_shows_markup_of_dqm2_as_text_and_has_machine_names_in_bodies_only(
    page: Page, url: str, simulator: Simulator
) -> None:
    simulator.faults.add(FaultKind.LOGIN_PAGE, request_kind=RequestKind.CONTROL)
    with requests_of(page) as requests:
        enter(page, url)
        for heading, button in ((UNIT, "Clients"), (UNIT, "HLTD logs"), ("Simulator", "Configuration")):
            output = press(item(page, heading), button)
            expect(output.locator("pre")).to_contain_text("<html")
    commands = [request for request in requests if request.url.endswith("/cr/exe")]
    assert [request.method for request in commands] == ["POST"] * 3
    assert all(UNIT in (request.post_data or "") for request in commands[:2])
    assert not [request.url for request in requests if "45-01" in request.url or "c2a06" in request.url]
