"""Actions on the Control Room's page, by its visible text."""

from playwright.sync_api import Locator, Page, expect

from tests.control_room import Visitor


def sign_in(page: Page, url: str) -> None:
    """Give a page's browser a session of its own."""
    visitor = Visitor(url)
    assert visitor.submit_password().ok
    page.context.add_cookies(
        [{"name": cookie.name, "value": cookie.value or "", "url": url} for cookie in visitor.http.cookies]
    )


def enter(page: Page, url: str) -> None:
    """Open the page of commands with a session of its own."""
    sign_in(page, url)
    page.goto(f"{url}/cr/")
    expect(page.get_by_role("heading", name="Playback cluster")).to_be_visible()


def item(page: Page, heading: str, *, cluster: str = "Playback cluster") -> Locator:
    """The section of a cluster below a heading, such as a machine.

    By tags: Playwright finds a role by the roles and names of all elements, and tests look often.
    """
    panel = page.locator(".panel").filter(has=page.locator("h2", has_text=cluster))
    return panel.locator(".control-item").filter(has=page.locator("h3", has_text=heading))


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
