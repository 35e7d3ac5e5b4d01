"""Actions on the Control Room's page, by its visible text."""

from playwright.sync_api import Locator, Page, expect

from tests.control_room import PASSWORD, USER


def enter(page: Page, url: str) -> None:
    """Sign in with the form."""
    page.goto(f"{url}/cr/")
    page.get_by_label("Name").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Playback cluster")).to_be_visible()
    # The buttons work only once the scripts are loaded.
    page.wait_for_load_state()


def item(page: Page, heading: str, *, cluster: str = "Playback cluster") -> Locator:
    """Return the section of a cluster below a heading, such as a machine."""
    section = page.get_by_role("region", name=cluster)
    return section.locator(".control-item").filter(has=page.get_by_role("heading", name=heading))


def press(section: Locator, button: str) -> Locator:
    """Press a button, wait for the result and return the output area."""
    output = section.locator(".output").first
    output.evaluate("area => area.replaceChildren()")
    section.get_by_role("button", name=button).first.click()
    expect(output.locator(".result").first).to_be_visible()
    return output


def confirm(page: Page, section: Locator, button: str, question: str, *, typed: str | None = None) -> Locator:
    """Press a button, confirm its dialog, wait for the result and return the output area."""
    output = section.locator(".output").first
    output.evaluate("area => area.replaceChildren()")
    section.get_by_role("button", name=button).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(question)
    if typed is not None:
        dialog.get_by_role("textbox").fill(typed)
    dialog.locator("#confirm-button").click()
    expect(output.locator(".result").first).to_be_visible()
    return output
