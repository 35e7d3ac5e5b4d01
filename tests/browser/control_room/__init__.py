"""The Control Room's page as an expert uses it: found by what it says, not by how it is made."""

from playwright.sync_api import Locator, Page, expect

from tests.control_room import PASSWORD, USER


def enter(page: Page, url: str) -> None:
    """Signs in by the form."""
    page.goto(f"{url}/cr/")
    page.get_by_label("Name").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Playback cluster")).to_be_visible()
    # With its scripts, without which its buttons do nothing.
    page.wait_for_load_state()


def item(page: Page, heading: str, *, cluster: str = "Playback cluster") -> Locator:
    """The part of the page below a heading: a machine, the simulator, all of a cluster."""
    section = page.get_by_role("region", name=cluster)
    return section.locator(".control-item").filter(has=page.get_by_role("heading", name=heading))


def press(part: Locator, button: str) -> Locator:
    """Presses a button and waits for what is reported; returns the answer's place."""
    answer = part.locator(".output").first
    answer.evaluate("place => place.replaceChildren()")
    part.get_by_role("button", name=button).first.click()
    expect(answer.locator(".result").first).to_be_visible()
    return answer


def confirm(page: Page, part: Locator, button: str, question: str, *, typed: str | None = None) -> Locator:
    """Presses a button that asks first, says yes, and waits for what is reported."""
    answer = part.locator(".output").first
    answer.evaluate("place => place.replaceChildren()")
    part.get_by_role("button", name=button).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(question)
    if typed is not None:
        dialog.get_by_role("textbox").fill(typed)
    dialog.locator("#confirm-button").click()
    expect(answer.locator(".result").first).to_be_visible()
    return answer
