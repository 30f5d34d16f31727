"""The page at `/vault/`, in Chromium, as a person uses it: two devices, a conflict, a new key, a lock, and
coming back.
"""

import secrets

import pyotp
import pytest
from playwright.sync_api import expect

from tests.axe import find_violations, violations_if_serious
from tests.browser import WINDOW_SIZES, overflow_pixels, save_screenshot

pytestmark = pytest.mark.stack
PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "an entirely new phrase"
NEW = "I am new here"
REFUSED = ("412", "401")  # what a browser's console says of answers that the page expects


@pytest.fixture
def device(stack, open_page):
    """The page in a browser of its own, whose clock the test may turn."""

    def opened(size="desktop"):
        page = open_page(
            f"http://localhost:{stack.webs[0].port}/vault/",
            size,
            permissions=["clipboard-read", "clipboard-write"],
        )
        page.clock.install()
        return page

    return opened


def address():
    return f"{secrets.token_hex(6)}@example.com"


def enter(page, email, password=PASSWORD, *, button="Open"):
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name=button).click()
    if button == NEW:
        page.get_by_label("Password again", exact=True).fill(password)
        press(page, "Make my vault")
    page.get_by_role("button", name="Add").wait_for()
    return page


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def write(page, **fields):
    for label, text in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(text)
    press(page, "Save")


def saved(page):
    page.locator("#editor").wait_for(state="hidden")
    expect(page.get_by_role("status")).to_have_text("Saved.")


def add(page, **fields):
    press(page, "Add")
    write(page, **fields)
    saved(page)


def item(page, name):
    return page.get_by_role("listitem").filter(has_text=name)


def secret_of(page, name):
    item(page, name).locator(".item").click()
    page.locator("#editor").wait_for()
    found = page.get_by_label("Secret", exact=True).input_value()
    press(page, "Cancel")
    return found


def surprises(page):
    return [trouble for trouble in page.errors if not any(code in trouble for code in REFUSED)]


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_a_person_keeps_things_on_two_devices(device, size):
    email = address()
    laptop = device(size)
    save_screenshot(laptop, f"vault-door-{size}")
    enter(laptop, email, button=NEW)
    save_screenshot(laptop, f"vault-empty-{size}")
    add(laptop, Name="Mail", User_name="ada", Secret="tide-pool-77")
    add(laptop, Name="Bank <b>&amp; Sons</b>", Secret="over the sea", Note="Ask for Grace.")
    item(laptop, "Mail").get_by_role("button", name="Copy").click()
    laptop.get_by_text("Copied the secret of Mail.").wait_for()
    assert laptop.evaluate("navigator.clipboard.readText()") == "tide-pool-77"
    save_screenshot(laptop, f"vault-list-{size}")
    phone = enter(device(size), email)

    item(phone, "Mail").locator(".item").click()
    item(laptop, "Mail").locator(".item").click()
    write(phone, Secret="changed on the phone")
    saved(phone)
    write(laptop, Secret="changed on the laptop")  # and somebody was faster
    laptop.get_by_text("changed on another device").wait_for()
    assert laptop.locator("#theirs").inner_text().split("\n") == ["Secret", "changed on the phone"]
    save_screenshot(laptop, f"vault-conflict-{size}")
    assert violations_if_serious(find_violations(laptop, "conflict")) == []
    press(laptop, "Save mine over it")
    saved(laptop)
    item(phone, "Mail").locator(".item").click()
    write(phone, Note="Written late.")
    press(phone, "Take that one")
    expect(phone.get_by_label("Secret", exact=True)).to_have_value("changed on the laptop")
    press(phone, "Cancel")

    press(laptop, "Settings")
    save_screenshot(laptop, f"vault-settings-{size}")
    press(laptop, "Make a new key")
    laptop.get_by_text("sealed with a new key").wait_for()
    press(phone, "Add")
    write(phone, Name="Written by a lost phone")
    phone.get_by_role("alert").filter(has_text="signed out").wait_for()
    assert secret_of(laptop, "Mail") == "changed on the laptop"

    laptop.clock.fast_forward("05:01")
    laptop.get_by_role("heading", name="Locked").wait_for()
    assert not any(word in laptop.content() for word in ("Mail", "changed on the laptop", "Grace"))
    save_screenshot(laptop, f"vault-locked-{size}")
    laptop.get_by_label("Password", exact=True).fill("not the password")
    press(laptop, "Open")
    laptop.get_by_text("This is not the password.").wait_for()
    laptop.get_by_label("Password", exact=True).fill(PASSWORD)
    laptop.keyboard.press("Enter")
    item(laptop, "Mail").wait_for()
    assert secret_of(laptop, "Bank") == "over the sea"
    laptop.reload()
    expect(laptop.get_by_label("E-mail address")).to_have_value(email)
    assert item(enter(laptop, email), "Mail").count() == 1
    assert (surprises(laptop), surprises(phone), overflow_pixels(laptop)) == ([], [], 0)


def test_what_is_deleted_comes_back_and_a_new_password_opens_everything(device):
    email = address()
    page = enter(device(), email, button=NEW)
    add(page, Name="Mail", Secret="kept")
    item(page, "Mail").locator(".item").click()
    press(page, "Delete")
    page.get_by_text("Nothing is in here yet").wait_for()
    press(page, "Undo")
    item(page, "Mail").wait_for()

    press(page, "Settings")
    page.get_by_label("Password now").fill("not the password")
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New password again").fill("another")
    press(page, "Change the password")
    page.locator("#more .said").filter(has_text="differ").wait_for()
    page.get_by_label("New password again").fill(NEW_PASSWORD)
    press(page, "Change the password")
    page.locator("#more .said").filter(has_text="not the password").wait_for()
    page.get_by_label("Password now").fill(PASSWORD)
    press(page, "Change the password")
    page.get_by_text("The password is changed.").wait_for()
    assert secret_of(page, "Mail") == "kept"
    press(page, "Settings")
    press(page, "Sign out")
    page.get_by_text("You are signed out.").wait_for()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    press(page, "Open")
    page.get_by_role("alert").filter(has_text="password").wait_for()
    assert secret_of(enter(page, email, NEW_PASSWORD), "Mail") == "kept"


def changes(page):
    """What the server says when the page opens again."""
    press(page, "Lock")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    with page.expect_response(lambda answer: "changes?since=" in answer.url) as answer:
        press(page, "Open")
    page.get_by_role("button", name="Add").wait_for()
    return answer.value.json()


def test_a_server_that_lies_is_not_believed(device):
    email = address()
    page = enter(device(), email, button=NEW)
    add(page, Name="Mail", Secret="first")
    add(page, Name="Bank", Secret="other")
    old = changes(page)
    item(page, "Mail").locator(".item").click()
    write(page, Secret="second")
    saved(page)
    new = changes(page)
    *rest, last = new["results"]
    lost = {**new, "results": rest}
    absurd = {**new, "results": [*rest, {**last, "version": 2**32 + 2}]}
    spelled = {**new, "results": [*rest, {**last, "item_id": last["item_id"].upper()}]}
    swapped = {**new, "results": [*rest, {**last, "ciphertext": rest[-1]["ciphertext"]}]}
    weak = {
        "scheme": "blind",
        "kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 599_999},
        "salt": "AAECAwQFBgcICQoLDA0ODw==",
    }
    open_kind = {**weak, "scheme": "password"}

    for path, lie, said in [
        ("changes?since=", old, "was rolled back to version 1"),
        ("changes?since=", absurd, "was rolled back to version 4294967298"),
        ("changes?since=", spelled, "was rolled back to version"),
        ("changes?since=", lost, "The server has lost"),
        ("auth/prelogin", weak, "too weak a key"),
        ("auth/prelogin", open_kind, "the server would see its password"),
    ]:
        page.reload()
        page.route(
            lambda url, path=path: path in url, lambda route, _request, lie=lie: route.fulfill(json=lie)
        )
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        sent = []
        page.on("request", lambda request, sent=sent: sent.append(request.url))
        press(page, "Open")
        page.get_by_role("alert").filter(has_text=said).wait_for()
        assert "auth/prelogin" not in path or not any("auth/login" in url for url in sent)
        page.unroute_all()
    page.reload()
    page.route(lambda url: "changes?since=" in url, lambda route: route.fulfill(json=swapped))
    enter(page, email)
    page.get_by_text("One thing does not open").wait_for()
    save_screenshot(page, "vault-broken")
    page.unroute_all()
    page.reload()
    assert secret_of(enter(page, email), "Mail") == "second"
    assert page.locator("#broken").is_hidden()


def test_a_second_factor_is_asked_for(device):
    email = address()
    page = enter(device(), email, button=NEW)
    app = pyotp.TOTP(page.evaluate(BEGIN_TOTP))
    assert page.evaluate(CONFIRM_TOTP, app.at(int(page.evaluate("Date.now() / 1000")) - 30)) == 200
    page.reload()
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    press(page, "Open")
    page.get_by_label("Code of your app").fill("000000")
    press(page, "Open")
    page.get_by_role("alert").filter(has_text="code").wait_for()
    press(page, "Open")
    page.get_by_label("Code of your app").fill(app.now())
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add").wait_for()


TOTP = """async () => (await (await fetch("/api/v1/auth/refresh", { method: "POST", body: "{}",
  headers: { "Content-Type": "application/json", "X-Requested-With": "fetch" } })).json()).access"""
CALL = f"""async (path, body) => fetch(`/api/v1/auth/${{path}}`, {{ method: "POST", body: JSON.stringify(body),
  headers: {{ "Content-Type": "application/json", Authorization: `Bearer ${{await ({TOTP})()}}` }} }})"""
BEGIN_TOTP = f"""async () => (await (await ({CALL})("totp", {{}})).json()).secret"""
CONFIRM_TOTP = f"""async (code) => (await ({CALL})("totp/confirm", {{ code }})).status"""


def test_the_keyboard_alone_is_enough_and_axe_finds_nothing_grave(device):
    email = address()
    page = device()
    found = find_violations(page, "door")
    for text in (email, PASSWORD):  # the first field has the focus
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # "I am new here" leads back to the password
    found += find_violations(page, "new")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add").wait_for()
    page.keyboard.press("Enter")  # "Add" has the focus where there is nothing to search
    for text in ("Mail", "ada", "tide-pool-77"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    found += find_violations(page, "editor")
    page.keyboard.press("Tab")  # past the note
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    item(page, "Mail").wait_for()
    found += find_violations(page, "list")
    assert page.evaluate("document.activeElement.textContent") == "Add"
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Copied").wait_for()
    page.emulate_media(color_scheme="dark")
    press(page, "Settings")
    found += find_violations(page, "settings, dark")
    page.keyboard.press("Escape")
    page.emulate_media(color_scheme="light")
    assert violations_if_serious(found) == []


def test_nothing_but_the_page_itself_runs_or_is_asked(device, stack):
    answer = stack.webs[0].get("/vault/")
    page = device()
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    enter(page, address(), button=NEW)
    add(page, Name="<img src=x onerror=alert(1)>", User_name="<script>alert(2)</script>", Secret="x")
    policy = answer.headers["Content-Security-Policy"]

    assert hosts == {f"localhost:{stack.webs[0].port}"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert "'self'" not in policy.replace("connect-src 'self'", "")
    assert "unsafe" not in policy
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("() => { document.body.innerHTML = '<b>x</b>' }")
    assert page.evaluate(INJECT) == "blocked"


INJECT = """() => new Promise((resolve) => {
  window.ran = () => resolve("ran");
  addEventListener("securitypolicyviolation", () => resolve("blocked"));
  document.body.append(Object.assign(document.createElement("button"), { id: "x" }));
  document.getElementById("x").setAttribute("style", "color: red");
})"""


def test_a_tab_whose_session_another_one_replaced_writes_nothing(device):
    """Two tabs of one browser: in the second somebody else signs in."""
    ada = address()
    bob = address()
    first = enter(device(), ada, button=NEW)
    add(first, Name="Mail", Secret="of Ada")
    second = first.context.new_page()
    second.goto(first.url)
    second.evaluate("localStorage.clear()")
    enter(second, bob, button=NEW)
    first.route(lambda url: url.endswith("/items") or "/vault" in url, expire, times=1)
    press(first, "Add")
    first.get_by_label("Name", exact=True).fill("Written into whose vault?")
    press(first, "Save")
    first.locator("#editor .said").filter(has_text="signed out").wait_for()
    second.reload()
    enter(second, bob)
    expect(second.get_by_text("Nothing is in here yet")).to_be_visible()


def expire(route):
    route.fulfill(status=401, json={"code": "token_expired", "detail": "Expired.", "status": 401})


def test_a_field_that_was_not_touched_stays_as_another_client_wrote_it(device):
    email = address()
    page = enter(device(), email, button=NEW)
    key = "-----BEGIN KEY-----\nAAAA\nBBBB\n-----END KEY-----"
    add(page, Name="Server", Secret=key)
    item(page, "Server").locator(".item").click()
    write(page, Note="Only the note.")
    saved(page)
    assert secret_of(page, "Server") == key
    item(page, "Server").locator(".item").click()
    press(page, "Show")
    save_screenshot(page, "vault-key-shown")


def test_nothing_that_was_opened_is_there_or_works_once_it_is_locked(device):
    page = enter(device(), address(), button=NEW)
    add(page, Name="Doomed", Secret="x")
    item(page, "Doomed").locator(".item").click()
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
    page.get_by_text("has forgotten everything").wait_for()
    assert page.get_by_role("button", name="Add").count() == 0


def test_what_another_device_deleted_can_be_added_again(device):
    email = address()
    laptop = enter(device(), email, button=NEW)
    add(laptop, Name="Mail", Secret="x")
    phone = enter(device("phone"), email)
    item(phone, "Mail").locator(".item").click()
    item(laptop, "Mail").locator(".item").click()
    press(laptop, "Delete")
    laptop.get_by_role("button", name="Undo").wait_for()
    write(phone, Secret="still wanted")
    phone.get_by_text("This was deleted on another device").wait_for()
    press(phone, "Add mine again")
    saved(phone)
    assert secret_of(phone, "Mail") == "still wanted"
