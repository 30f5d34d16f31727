"""Tests of the page at `/vault/` in Chromium, as a person uses it."""

import pyotp
import pytest
from playwright.sync_api import expect

from tests.axe import find_violations, violations_if_serious
from tests.browser import WINDOW_SIZES, overflow_pixels, save_screenshot
from vault.tests.page_helpers import (
    PASSWORD,
    SIGN_UP,
    add_item,
    enter,
    fill_and_save,
    list_item,
    new_email,
    press,
    read_secret,
    wait_until_saved,
)

pytestmark = pytest.mark.stack
NEW_PASSWORD = "an entirely new phrase"
EXPECTED_STATUSES = ("412", "401")  # refusals that the page handles; the browser's console shows them


@pytest.fixture
def device(stack, open_page):
    """A function that opens the page in a browser of its own, whose clock the test can move."""

    def open_vault_page(size="desktop"):
        page = open_page(
            f"http://localhost:{stack.webs[0].port}/vault/",
            size,
            permissions=["clipboard-read", "clipboard-write"],
        )
        page.clock.install()
        return page

    return open_vault_page


def unexpected_troubles(page):
    return [trouble for trouble in page.errors if not any(code in trouble for code in EXPECTED_STATUSES)]


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_vault_page_synchronizes_two_devices(device, size):
    email = new_email()
    laptop = device(size)
    save_screenshot(laptop, f"vault-door-{size}")
    enter(laptop, email, button=SIGN_UP)
    save_screenshot(laptop, f"vault-empty-{size}")
    add_item(laptop, Name="Mail", User_name="ada", Secret="tide-pool-77")
    add_item(laptop, Name="Bank <b>&amp; Sons</b>", Secret="over the sea", Note="Ask for Grace.")
    list_item(laptop, "Mail").get_by_role("button", name="Copy").click()
    laptop.get_by_text("Copied the secret of Mail.").wait_for()
    assert laptop.evaluate("navigator.clipboard.readText()") == "tide-pool-77"
    save_screenshot(laptop, f"vault-list-{size}")
    phone = enter(device(size), email)

    list_item(phone, "Mail").locator(".item").click()
    list_item(laptop, "Mail").locator(".item").click()
    fill_and_save(phone, Secret="changed on the phone")
    wait_until_saved(phone)
    fill_and_save(laptop, Secret="changed on the laptop")  # after the phone has saved
    laptop.get_by_text("changed on another device").wait_for()
    assert laptop.locator("#stored-values").inner_text().split("\n") == ["Secret", "changed on the phone"]
    save_screenshot(laptop, f"vault-conflict-{size}")
    assert violations_if_serious(find_violations(laptop, "conflict")) == []
    press(laptop, "Save my version")
    wait_until_saved(laptop)
    list_item(phone, "Mail").locator(".item").click()
    fill_and_save(phone, Note="Written late.")
    press(phone, "Use the other version")
    expect(phone.get_by_label("Secret", exact=True)).to_have_value("changed on the laptop")
    press(phone, "Cancel")

    press(laptop, "Settings")
    save_screenshot(laptop, f"vault-settings-{size}")
    press(laptop, "Create a new key")
    laptop.get_by_text("encrypted with a new key").wait_for()
    press(phone, "Add")
    fill_and_save(phone, Name="Written by a lost phone")
    phone.get_by_role("alert").filter(has_text="signed out").wait_for()
    assert read_secret(laptop, "Mail") == "changed on the laptop"

    laptop.clock.fast_forward("05:01")
    laptop.get_by_role("heading", name="Locked").wait_for()
    assert not any(word in laptop.content() for word in ("Mail", "changed on the laptop", "Grace"))
    save_screenshot(laptop, f"vault-locked-{size}")
    laptop.get_by_label("Password", exact=True).fill("not the password")
    press(laptop, "Open")
    laptop.get_by_text("This password is wrong.").wait_for()
    laptop.get_by_label("Password", exact=True).fill(PASSWORD)
    laptop.keyboard.press("Enter")
    list_item(laptop, "Mail").wait_for()
    assert read_secret(laptop, "Bank") == "over the sea"
    laptop.reload()
    expect(laptop.get_by_label("E-mail address")).to_have_value(email)
    assert list_item(enter(laptop, email), "Mail").count() == 1
    assert (unexpected_troubles(laptop), unexpected_troubles(phone), overflow_pixels(laptop)) == ([], [], 0)


def test_vault_page_undoes_a_deletion_and_changes_the_password(device):
    email = new_email()
    page = enter(device(), email, button=SIGN_UP)
    add_item(page, Name="Mail", Secret="kept")
    list_item(page, "Mail").locator(".item").click()
    press(page, "Delete")
    page.get_by_text("Your vault is empty").wait_for()
    press(page, "Undo")
    list_item(page, "Mail").wait_for()

    press(page, "Settings")
    page.get_by_label("Current password").fill("not the password")
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New password again").fill("another")
    press(page, "Change the password")
    page.locator("#settings-dialog .error").filter(has_text="differ").wait_for()
    page.get_by_label("New password again").fill(NEW_PASSWORD)
    press(page, "Change the password")
    page.locator("#settings-dialog .error").filter(has_text="password is wrong").wait_for()
    page.get_by_label("Current password").fill(PASSWORD)
    press(page, "Change the password")
    page.get_by_text("The password is changed.").wait_for()
    assert read_secret(page, "Mail") == "kept"
    press(page, "Settings")
    press(page, "Sign out")
    page.get_by_text("You are signed out.").wait_for()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    press(page, "Open")
    page.get_by_role("alert").filter(has_text="password").wait_for()
    assert read_secret(enter(page, email, NEW_PASSWORD), "Mail") == "kept"


def reopen_and_read_changes(page):
    """Lock and unlock the page. Return the changes that the server answers then."""
    press(page, "Lock")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    with page.expect_response(lambda response: "changes?since=" in response.url) as response:
        press(page, "Open")
    page.get_by_role("button", name="Add").wait_for()
    return response.value.json()


def test_vault_page_refuses_a_server_that_lies(device):
    email = new_email()
    page = enter(device(), email, button=SIGN_UP)
    add_item(page, Name="Mail", Secret="first")
    add_item(page, Name="Bank", Secret="other")
    older = reopen_and_read_changes(page)
    list_item(page, "Mail").locator(".item").click()
    fill_and_save(page, Secret="second")
    wait_until_saved(page)
    newest = reopen_and_read_changes(page)
    *others, last = newest["results"]

    def with_last(**fields):
        return {**newest, "results": [*others, {**last, **fields}]}

    missing = {**newest, "results": others}
    swapped = with_last(ciphertext=others[-1]["ciphertext"])
    weak = {
        "scheme": "blind",
        "kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 599_999},
        "salt": "AAECAwQFBgcICQoLDA0ODw==",
    }

    for path, body, message in [
        ("changes?since=", older, "was rolled back to version 1"),
        ("changes?since=", with_last(version=2**32 + 2), "was rolled back to version 4294967298"),
        ("changes?since=", with_last(item_id=last["item_id"].upper()), "was rolled back to version"),
        ("changes?since=", missing, "The server did not return"),
        ("auth/prelogin", weak, "key that is too weak"),
        ("auth/prelogin", {**weak, "scheme": "password"}, "the server would see its password"),
    ]:
        page.reload()
        page.route(
            lambda url, path=path: path in url, lambda route, _request, body=body: route.fulfill(json=body)
        )
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        urls = []
        page.on("request", lambda request, urls=urls: urls.append(request.url))
        press(page, "Open")
        page.get_by_role("alert").filter(has_text=message).wait_for()
        assert "auth/prelogin" not in path or not any("auth/login" in url for url in urls)
        page.unroute_all()
    page.reload()
    page.route(lambda url: "changes?since=" in url, lambda route: route.fulfill(json=swapped))
    enter(page, email)
    page.get_by_text("One item cannot be decrypted").wait_for()
    save_screenshot(page, "vault-broken")
    page.unroute_all()
    page.reload()
    assert read_secret(enter(page, email), "Mail") == "second"
    assert page.locator("#undecryptable").is_hidden()


def test_vault_page_asks_for_a_second_factor(device):
    email = new_email()
    page = enter(device(), email, button=SIGN_UP)
    app = pyotp.TOTP(page.evaluate(BEGIN_TOTP))
    assert page.evaluate(CONFIRM_TOTP, app.at(int(page.evaluate("Date.now() / 1000")) - 30)) == 200
    page.reload()
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    press(page, "Open")
    page.get_by_label("Code of your authenticator app").fill("000000")
    press(page, "Open")
    page.get_by_role("alert").filter(has_text="code").wait_for()
    press(page, "Open")
    page.get_by_label("Code of your authenticator app").fill(app.now())
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add").wait_for()


GET_ACCESS_TOKEN = """async () => {
  const headers = { "Content-Type": "application/json", "X-Requested-With": "fetch" };
  const response = await fetch("/api/v1/auth/refresh", { method: "POST", body: "{}", headers });
  return (await response.json()).access;
}"""
CALL_AUTH = f"""async (path, body) => {{
  const token = await ({GET_ACCESS_TOKEN})();
  const headers = {{ "Content-Type": "application/json", Authorization: `Bearer ${{token}}` }};
  return fetch(`/api/v1/auth/${{path}}`, {{ method: "POST", body: JSON.stringify(body), headers }});
}}"""
BEGIN_TOTP = f"""async () => (await (await ({CALL_AUTH})("totp", {{}})).json()).secret"""
CONFIRM_TOTP = f"""async (code) => (await ({CALL_AUTH})("totp/confirm", {{ code }})).status"""


def test_vault_page_is_accessible_and_usable_by_keyboard(device):
    email = new_email()
    page = device()
    axe_faults = find_violations(page, "door")
    for text in (email, PASSWORD):  # the e-mail field has the focus
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button for signing up moves the focus to the password
    axe_faults += find_violations(page, "new")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add").wait_for()
    page.keyboard.press("Enter")  # an empty vault puts the focus on "Add"
    for text in ("Mail", "ada", "tide-pool-77"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    axe_faults += find_violations(page, "editor")
    page.keyboard.press("Tab")  # past the note
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    list_item(page, "Mail").wait_for()
    axe_faults += find_violations(page, "list")
    assert page.evaluate("document.activeElement.textContent") == "Add"
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Copied").wait_for()
    page.emulate_media(color_scheme="dark")
    press(page, "Settings")
    axe_faults += find_violations(page, "settings, dark")
    page.keyboard.press("Escape")
    page.emulate_media(color_scheme="light")
    assert violations_if_serious(axe_faults) == []


def test_vault_page_runs_and_requests_nothing_but_itself(device, stack):
    headers = stack.webs[0].get("/vault/").headers
    page = device()
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    enter(page, new_email(), button=SIGN_UP)
    add_item(page, Name="<img src=x onerror=alert(1)>", User_name="<script>alert(2)</script>", Secret="x")
    policy = headers["Content-Security-Policy"]

    assert hosts == {f"localhost:{stack.webs[0].port}"}
    assert headers["Cache-Control"] == "no-store"
    assert "'self'" not in policy.replace("connect-src 'self'", "")
    assert "unsafe" not in policy
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("() => { document.body.innerHTML = '<b>x</b>' }")
    assert page.evaluate(SET_INLINE_STYLE) == "blocked"


SET_INLINE_STYLE = """() => new Promise((resolve) => {
  addEventListener("securitypolicyviolation", () => resolve("blocked"));
  document.body.append(Object.assign(document.createElement("button"), { id: "x" }));
  document.getElementById("x").setAttribute("style", "color: red");
})"""


def test_vault_page_does_not_write_with_the_session_of_another_user(device):
    """In the second of two tabs of one browser another user signs in, which replaces the refresh cookie."""
    ada = new_email()
    bob = new_email()
    first = enter(device(), ada, button=SIGN_UP)
    add_item(first, Name="Mail", Secret="of Ada")
    second = first.context.new_page()
    second.goto(first.url)
    second.evaluate("localStorage.clear()")
    enter(second, bob, button=SIGN_UP)
    first.route(lambda url: url.endswith("/items") or "/vault" in url, answer_token_expired, times=1)
    press(first, "Add")
    first.get_by_label("Name", exact=True).fill("Written into whose vault?")
    press(first, "Save")
    first.locator("#editor .error").filter(has_text="signed out").wait_for()
    second.reload()
    enter(second, bob)
    expect(second.get_by_text("Your vault is empty")).to_be_visible()


def answer_token_expired(route):
    route.fulfill(status=401, json={"code": "token_expired", "detail": "Expired.", "status": 401})


def test_vault_page_keeps_the_fields_that_were_not_edited(device):
    email = new_email()
    page = enter(device(), email, button=SIGN_UP)
    key = "-----BEGIN KEY-----\nAAAA\nBBBB\n-----END KEY-----"
    add_item(page, Name="Server", Secret=key)
    list_item(page, "Server").locator(".item").click()
    fill_and_save(page, Note="Only the note.")
    wait_until_saved(page)
    assert read_secret(page, "Server") == key
    list_item(page, "Server").locator(".item").click()
    press(page, "Show")
    save_screenshot(page, "vault-key-shown")


def test_vault_page_forgets_everything_when_it_locks(device):
    page = enter(device(), new_email(), button=SIGN_UP)
    add_item(page, Name="Doomed", Secret="x")
    list_item(page, "Doomed").locator(".item").click()
    press(page, "Delete")
    page.get_by_role("button", name="Undo").wait_for()
    press(page, "Lock")
    assert "Doomed" not in page.content()
    assert page.get_by_role("button", name="Undo").count() == 0
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    press(page, "Open")
    page.get_by_role("button", name="Add").wait_for()
    page.route(lambda url: "logout" in url, lambda route: route.abort())
    press(page, "Settings")
    press(page, "Sign out")
    page.get_by_text("All keys were removed from this page").wait_for()
    assert page.get_by_role("button", name="Add").count() == 0


def test_vault_page_can_add_an_item_again_that_another_device_deleted(device):
    email = new_email()
    laptop = enter(device(), email, button=SIGN_UP)
    add_item(laptop, Name="Mail", Secret="x")
    phone = enter(device("phone"), email)
    list_item(phone, "Mail").locator(".item").click()
    list_item(laptop, "Mail").locator(".item").click()
    press(laptop, "Delete")
    laptop.get_by_role("button", name="Undo").wait_for()
    fill_and_save(phone, Secret="still wanted")
    phone.get_by_text("This was deleted on another device").wait_for()
    press(phone, "Add my version again")
    wait_until_saved(phone)
    assert read_secret(phone, "Mail") == "still wanted"
