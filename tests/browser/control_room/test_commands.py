"""Every command on the Control Room's page: its effect on the simulated clusters, and its messages."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, Request, expect

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.control_commands import FFF_RELEASE, CommandMode
from simulator.daemons import DaemonKind
from simulator.fault_injection import FaultKind, RequestKind
from simulator.http_types import Response
from simulator.simulator import Simulator
from tests.browser.conftest import pass_time
from tests.browser.control_room import confirm, enter, item, press
from tests.control_room import (
    BEAM,
    GATEWAY,
    OTHER_UNIT,
    PRODUCTION_UNIT,
    UNIT,
    commands_sent,
    execute_statement,
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


@pytest.fixture
def signed_in(page: Page, url: str) -> Page:
    """The Control Room's page."""
    enter(page, url)
    return page


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


def test_it_names_the_run_that_a_command_may_end_in_its_question(
    signed_in: Page, playback: MirroredCluster
) -> None:
    machine, section = item(signed_in, UNIT), item(signed_in, "Simulator")
    dialog = signed_in.get_by_role("dialog")
    playback.write(UNIT, job(500_012, "csc"))
    expect(machine).to_contain_text("run 500012: 1 running")
    machine.get_by_role("button", name="Restart HLTD").click()
    expect(dialog.get_by_role("heading")).to_have_text(
        f"Restart HLTD on {UNIT} (playback) during run 500012?"
    )
    dialog.get_by_role("button", name="Cancel").click()
    press(section, "Choose a run")
    section.get_by_role("button", name="Start").click()
    expect(dialog.get_by_role("heading")).to_contain_text(f"on {GATEWAY} (playback) in place of run 500012?")
    dialog.get_by_role("button", name="Cancel").click()


def test_it_alerts_and_shows_the_freshness_of_both_clusters(
    signed_in: Page, playback: MirroredCluster, mirrored: MirroredCluster
) -> None:
    expect(signed_in.locator(".freshness-bar")).to_have_count(2)
    expect(signed_in.locator(".machine-freshness .ago").first).to_contain_text("ago")
    playback.write(UNIT, job(500_012, "csc", exit_code=-11))
    expect(signed_in.locator("#toasts")).to_contain_text("csc crashed in run 500012 (playback)")
    mirrored.write(PRODUCTION_UNIT, job(358_791, "dt", exit_code=-11))
    expect(signed_in.locator("#toasts")).to_contain_text("dt crashed in run 358791 (production)")


def test_it_restarts_services_and_offers_their_logs(signed_in: Page, simulator: Simulator) -> None:
    section = item(signed_in, UNIT)
    for name, service in (("HLTD", DaemonKind.HLTD), ("DQM²", DaemonKind.FFF)):
        output = confirm(signed_in, section, f"Restart {name}", f"Restart {name} on {UNIT} (playback)?")
        expect(output).to_contain_text(OK)
        assert len(simulator.world.daemons.get(service, UNIT).starts) == 2
        output.get_by_role("button", name=f"Show {name} logs").click()
        expect(output.get_by_label("Log 1 of").locator("pre")).to_contain_text("Service started")


def test_it_restarts_a_production_service_only_after_its_name_is_typed(
    signed_in: Page, simulator: Simulator
) -> None:
    section = item(signed_in, PRODUCTION_UNIT, cluster=PRODUCTION)
    section.get_by_role("button", name="Restart HLTD").click()
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
    question = f"Restart HLTD on {PRODUCTION_UNIT} (production)?"
    output = confirm(signed_in, section, "Restart HLTD", question, typed=PRODUCTION_UNIT)
    expect(output).to_contain_text(OK)
    assert len(simulator.world.daemons.get(DaemonKind.HLTD, PRODUCTION_UNIT).starts) == 2


@pytest.mark.clock
def test_it_switches_clients_and_reads_their_state_back(signed_in: Page, simulator: Simulator) -> None:
    section = item(signed_in, UNIT)
    switch = press(section, "Clients").get_by_role("switch", name=BEAM)
    # So that it is pending until the test has seen it.
    signed_in.clock.pause_at(datetime.now(UTC) + timedelta(minutes=5))
    for state, is_on in (("off", False), ("on", True)):
        expect(switch).to_have_attribute("aria-checked", str(not is_on).lower())
        switch.click()
        # The switch does not claim a state that was not read, and can't be pressed meanwhile.
        expect(section.locator("form[data-pending]")).to_be_visible()
        signed_in.clock.run_for(100)
        expect(switch).to_be_disabled()
        expect(switch).to_have_attribute("aria-checked", str(not is_on).lower())
        pass_time(signed_in, section.get_by_text(f"DQM² reports {BEAM} as {state}.").is_visible)
        expect(switch).to_have_attribute("aria-checked", str(is_on).lower())
        expect(switch).to_be_enabled()
        assert simulator.world.switches.is_on(UNIT, BEAM, is_playback=True) is is_on


@pytest.mark.clock
def test_it_reports_a_switch_that_dqm2_did_not_change_though_it_says_ok(
    signed_in: Page, simulator: Simulator
) -> None:
    section = item(signed_in, UNIT)
    switch = press(section, "Clients").get_by_role("switch", name=BEAM)
    simulator.control.handlers["change_dqm_client"] = lambda _request: Response(200, b"Ok")
    switch.click()
    expect(section.locator(".switches")).to_contain_text(OK)
    pass_time(signed_in, section.get_by_text(f"DQM² still reports {BEAM} as on.").is_visible)
    expect(switch).to_have_attribute("aria-checked", "true")
    assert [command["what"] for command in commands_sent(simulator)][-3:] == ["get_dqm_clients"] * 3


def test_it_asks_before_it_repeats_a_change(signed_in: Page, simulator: Simulator) -> None:
    section = item(signed_in, UNIT)
    question = f"Restart HLTD on {UNIT} (playback)?"
    expect(confirm(signed_in, section, "Restart HLTD", question)).to_contain_text(OK)
    output = confirm(signed_in, section, "Restart HLTD", question)
    expect(output).to_contain_text("shifter requested this")
    expect(output).to_contain_text("Send it again?")
    assert len(commands_sent(simulator)) == 1
    output.get_by_role("button", name="Send again").click()
    expect(output).to_contain_text(OK)
    assert len(commands_sent(simulator)) == 2
    last_hour = signed_in.get_by_role("region", name="Last hour")
    expect(last_hour.get_by_text("HLTD restarted on dqmfu-c2b01-.., by shifter")).to_have_count(2)
    expect(last_hour.get_by_text("shifter: restart HLTD on dqmfu-c2b01-..")).to_have_count(1)


def test_it_requires_the_machine_s_name_to_switch_a_production_client(
    signed_in: Page, simulator: Simulator
) -> None:
    section = item(signed_in, PRODUCTION_UNIT, cluster=PRODUCTION)
    press(section, "Clients").get_by_role("switch", name=BEAM).click()
    dialog = signed_in.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(
        f"Switch {BEAM} off on {PRODUCTION_UNIT} (production)?"
    )
    yes = dialog.get_by_role("button", name="Switch")
    expect(yes).to_be_disabled()
    dialog.get_by_role("textbox").fill(PRODUCTION_UNIT)
    yes.click()
    expect(section.locator(".switches")).to_contain_text(OK)
    assert simulator.world.switches.is_on(PRODUCTION_UNIT, BEAM, is_playback=False) is False


def test_it_searches_and_downloads_logs(signed_in: Page, simulator: Simulator) -> None:
    section = item(signed_in, UNIT)
    output = press(section, "HLTD logs")
    viewer = output.get_by_label("Log 1 of 2")
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


def test_it_explains_each_kind_of_response(signed_in: Page, simulator: Simulator, settings: Settings) -> None:
    section = item(signed_in, UNIT)
    question = f"Restart HLTD on {UNIT} (playback)?"
    for kind, words in (
        (FaultKind.CONNECTION_CLOSED, "Outcome unknown: the response was interrupted"),
        (
            FaultKind.ERROR_PAGE,
            "DQM² failed: it answered with status 500. What it did before that is unknown.",
        ),
        (FaultKind.LOGIN_REDIRECT, "DQM² denied access to the mirror. Nothing was done."),
        (FaultKind.LOGIN_PAGE, "DQM² did not say Ok. What it did is unknown."),
        (FaultKind.CONNECTION_REFUSED, "DQM² can't be reached: nothing was sent."),
    ):
        simulator.faults.add(kind, times=1)
        expect(confirm(signed_in, section, "Restart HLTD", question)).to_contain_text(words)
        simulator.faults.clear()
        # So long ago that the page does not ask whether to repeat it.
        earlier = db.audit_log.c.sent_at - sa.text("'1 min'::interval")
        execute_statement(settings, sa.update(db.audit_log).values(sent_at=earlier))
    simulator.machine(UNIT).is_ssh_broken = True
    output = confirm(signed_in, section, "Restart HLTD", question)
    expect(output).to_contain_text("DQM² did not say Ok.")
    expect(output.locator("pre")).to_contain_text("No route to host")


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


def test_it_shows_markup_of_dqm2_as_text(signed_in: Page, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.LOGIN_PAGE, request_kind=RequestKind.CONTROL)
    for heading, button in ((UNIT, "Clients"), (UNIT, "HLTD logs"), ("Simulator", "Configuration")):
        output = press(item(signed_in, heading), button)
        expect(output.locator("pre")).to_contain_text("<html")


@pytest.mark.own_page
def test_it_sends_machine_names_in_bodies_only(page: Page, url: str) -> None:
    asked: list[Request] = []

    def note(request: Request) -> None:
        asked.append(request)

    page.on("request", note)
    enter(page, url)
    press(item(page, UNIT), "Clients")
    press(item(page, UNIT), "DQM² logs")
    press(item(page, "Simulator"), "Configuration")
    commands = [request for request in asked if request.url.endswith("/cr/exe")]
    assert [request.method for request in commands] == ["POST"] * 3
    assert all(UNIT in (request.post_data or "") for request in commands[:2])
    assert not [request.url for request in asked if "45-01" in request.url or "c2a06" in request.url]
