"""Invitations, previews and the public JSON of sites in Chromium."""

import re
import secrets

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser import WINDOW_SIZES, save_screenshot
from tests.stack import PASSWORD, ROOT, wait_until

pytestmark = pytest.mark.stack
GUIDE_FUNCTION = """async () => {{
  const output = [];
  const console = {{ log: (...values) => output.push(...values) }};
  {sample}
  return output;
}}"""


def last_invitation_link(web_and_worker, address):
    """The link of the last invitation that was mailed to `address`. Empty before the first mail."""
    mails = web_and_worker.mails_to(address)
    return re.search(r"https?://\S+/account/invitation#\S+", mails[-1])[0] if mails else ""


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_invitation_page_registers_the_guest_and_adds_the_member(web_and_worker, person, open_page, size):
    guest = f"guest-{size}-{secrets.token_hex(4)}@example.com"
    site_id, _ = person.publish()
    invited = person.call("POST", f"sites/{site_id}/invitations", {"email": guest, "role": "editor"})
    assert invited.status_code == 201
    link = wait_until(lambda: last_invitation_link(web_and_worker, guest), seconds=30)

    page = open_page(link, size)
    invitation = f"{person.email} invites you to work on “Outside” as editor."
    expect(page.locator("#invited")).to_have_text(invitation)
    assert page.url.endswith("/account/invitation"), "the token must not stay in the address"
    save_screenshot(page, f"invitation-{size}")
    page.fill("#password", "not the password")
    page.click("button")
    page.locator("#said.bad").wait_for()
    page.check("#fresh")
    expect(page.locator("button")).to_have_text("Create an account and join")
    page.fill("#password", PASSWORD)
    page.click("button")
    page.get_by_text("Welcome. You are now editor of “Outside”.").wait_for()
    save_screenshot(page, f"invitation-{size}-joined")

    members = person.call("GET", f"sites/{site_id}/members").json()["results"]
    assert {(row["email"], row["role"]) for row in members} == {(person.email, "owner"), (guest, "editor")}
    used_page = open_page(link, size)
    expect(used_page.locator("#said")).to_contain_text("This invitation is not valid")
    assert not used_page.locator("#form").is_visible()


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_preview_pages_link_to_each_other_and_stay_private(person, open_page, size):
    body = {"name": "P", "subdomain": f"p{person.email[:10]}", "template": "bakery"}
    site = person.call("POST", "sites", body).json()
    url = person.call("POST", f"sites/{site['id']}/previews", {}).json()["url"]
    url = re.sub(r":\d+/", f":{person.web.port}/", url)

    page = open_page(url, size)
    assert page.errors == []
    assert page.locator(".preview-bar").inner_text() == "Preview: not published yet"
    save_screenshot(page, f"preview-{size}")
    if size == "phone":
        page.click(".nav-small summary")
    page.locator("header nav a:visible").nth(1).click()
    page.wait_for_load_state()

    assert page.url.startswith(url)
    assert page.url != url
    assert page.errors == []
    assert page.context.cookies() == []
    public = httpx.get(f"{person.web.url}/", headers={"Host": f"{site['subdomain']}.localhost"})
    assert public.status_code == 404


def test_public_json_sample_of_the_guide_runs_on_a_page_of_another_origin(person, open_page):
    """No setting allows the origin of the page, so the public JSON must be readable from any origin."""
    _, host = person.publish(template="bakery")
    guide = (ROOT / "docs" / "sites.md").read_text()
    sample = re.search(r"```js\n(.*?)```", guide, re.DOTALL)[1]
    adapted = sample.replace("127.0.0.1:8000", f"localhost:{person.web.port}")
    adapted = adapted.replace("my-studio.localhost", host)
    assert adapted != sample

    # The policy of a published page forbids fetch, so the browser ignores it here.
    page = open_page(f"http://{host}:{person.web.port}/", bypass_csp=True)
    output = page.evaluate(GUIDE_FUNCTION.format(sample=adapted))

    assert (output[0], output[1] > 0, output[2] > 0) == ("Marlow & Rye", True, True)
