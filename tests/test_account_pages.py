"""Accounts in Chromium: the samples of docs/accounts.md, the pages behind mailed links, and the door of the
admin.
"""

import re
import secrets

import httpx
import pyotp
import pytest
from playwright.sync_api import expect

from accounts.tests.calls import auth_hash
from tests.browser import WINDOW_SIZES, save_screenshot
from tests.stack import PASSWORD, ROOT, wait_until

pytestmark = pytest.mark.stack


def give_finger(page):
    """A virtual authenticator that verifies its user."""
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    finger = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": finger})


VECTOR = """"correct horse battery staple", { kdf: { algorithm: "PBKDF2-SHA256", iterations: 600000 }, salt: "AAECAwQFBgcICQoLDA0ODw==" }"""
MAKE_PASSKEY = """async ([email, password, recovery_code]) => {
  const call = async (path, body, access) => (await fetch(`/api/v1/auth/${path}`, { method: "POST", body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...(access && { Authorization: `Bearer ${access}` }) } }));
  const { challenge } = await (await call("login", { email, password })).json();
  const { access } = await (await call("mfa/verify", { challenge, recovery_code })).json();
  const asked = await (await call("passkeys/options", {}, access)).json();
  const made = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked.public_key) });
  const kept = await call("passkeys", { challenge: asked.challenge, credential: made.toJSON(), name: "Laptop" }, access);
  await kept.json();
  return kept.status;
}"""


def test_every_sample_of_the_guide_runs_in_a_browser(web_and_worker, open_page, issuer):
    web = web_and_worker.web
    page = open_page(f"http://localhost:{web.port}/account/forgot-password")
    seen: list[str] = []

    def mailed_token(address: str) -> str:
        (*_, token) = wait_until(
            lambda: [t for t in web_and_worker.tokens_to(address) if t not in seen], seconds=30
        )
        seen.append(token)
        return token

    page.expose_function("mailedToken", mailed_token)
    page.expose_function("codeOf", lambda secret: pyotp.TOTP(secret).now())
    page.expose_function("comeBack", issuer.authorize)
    give_finger(page)
    guide = (ROOT / "docs" / "accounts.md").read_text()
    script = "\n".join(re.findall(r"(?ms)^```js\n(.*?)^```", guide))

    statuses = page.evaluate(
        f"(async () => {{ {script}\n return {{signUp, login, refreshed, me, confirmed, first, second, passkey, byPasskey, again, moved, changed, forgot, reset, sessions, revoked, byKey: {{status: byKey.status}}, byProvider, blindSignUp, known, blindLogin, asked, archive, zip: {{status: zip.status}}, closed, reopened, vector: (await derive({VECTOR})).auth_hash}}; }})()"
    )

    vector = statuses.pop("vector")
    assert vector in guide
    assert vector == auth_hash("correct horse battery staple", bytes(range(16)))
    assert {name: answer["status"] for name, answer in statuses.items()} == {
        "signUp": 202,
        "login": 200,
        "refreshed": 200,
        "me": 200,
        "confirmed": 200,
        "first": 401,
        "second": 200,
        "passkey": 201,
        "byPasskey": 200,
        "again": 204,
        "moved": 202,
        "changed": 200,
        "forgot": 202,
        "reset": 204,
        "sessions": 200,
        "byKey": 200,
        "revoked": 204,
        "byProvider": 200,
        "blindSignUp": 202,
        "known": 200,
        "blindLogin": 200,
        "asked": 202,
        "archive": 200,
        "zip": 200,
        "closed": 204,
        "reopened": 204,
    }
    assert statuses["me"]["data"]["email"] == "ada@example.com"


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_mailed_links_work_on_our_own_pages(web_and_worker, open_page, size):
    web = web_and_worker.web
    address = web_and_worker.sign_up()
    (link,) = wait_until(lambda: web_and_worker.links_to(address), seconds=30)
    assert link.startswith(f"http://localhost:{web.port}/account/verify-email#")
    base = f"http://localhost:{web.port}/account"

    page = open_page(link, size)
    save_screenshot(page, f"account-verify-{size}")
    assert "#" not in page.url
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Your address is confirmed").wait_for()
    page = open_page(f"{base}/forgot-password", size)
    page.get_by_label("E-mail address").fill(address)
    page.keyboard.press("Enter")
    page.get_by_text("a mail is on its way").wait_for()
    (_, link) = wait_until(lambda: (links := web_and_worker.links_to(address))[1:] and links, seconds=30)
    assert link.startswith(f"{base}/reset-password#")
    page = open_page(link, size)
    page.get_by_label("New password").fill("password")
    page.keyboard.press("Enter")
    page.get_by_text("too common").wait_for()
    save_screenshot(page, f"account-reset-{size}")
    page.get_by_label("New password").fill("an entirely new phrase")
    page.keyboard.press("Enter")
    page.get_by_text("Sign in with your new password").wait_for()
    page = open_page(f"{base}/reset-password", size)
    expect(page.get_by_role("status")).to_contain_text("not complete")


REFRESH = """async () => (await (await fetch("/api/v1/auth/refresh", {
  method: "POST", body: "{}", headers: { "Content-Type": "application/json", "X-Requested-With": "fetch" } })).json()).access"""
SIGN_UP_BLIND = """async (email) => {
  const { newSecret } = await import("/static/vault/keys.js");
  const body = JSON.stringify({ email, ...(await newSecret("the first long phrase", 700000)).fields });
  return (await fetch("/api/v1/auth/register", { method: "POST", headers: { "Content-Type": "application/json" }, body })).status;
}"""


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_a_blind_account_is_reset_on_our_own_page_without_showing_the_password(
    web_and_worker, open_page, size
):
    web = web_and_worker.web
    address = f"{secrets.token_hex(6)}@example.com"
    base = f"http://localhost:{web.port}/account"
    page = open_page(f"{base}/forgot-password", size)
    assert page.evaluate(SIGN_UP_BLIND, address) == 202
    (token,) = wait_until(lambda: web_and_worker.tokens_to(address), seconds=30)
    page = open_page(f"{base}/verify-email#{token}", size)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Your address is confirmed").wait_for()
    page = open_page(f"{base}/forgot-password", size)
    page.get_by_label("E-mail address").fill(address)
    page.keyboard.press("Enter")
    page.get_by_text("a mail is on its way").wait_for()
    (_, token) = wait_until(lambda: (found := web_and_worker.tokens_to(address))[1:] and found, seconds=30)

    page = open_page(f"{base}/reset-password?scheme=blind#{token}", size)
    sent = []
    page.on("request", lambda request: sent.append(request.post_data or ""))
    save_screenshot(page, f"account-reset-blind-{size}")
    page.get_by_label("New password").fill("the second long phrase")
    page.get_by_role("button", name="Use this password").click()
    assert not sent  # the box is not ticked
    page.get_by_label("I know that my vault is lost").check()
    page.get_by_role("button", name="Use this password").click()
    page.get_by_text("Sign in with your new password").wait_for()
    assert len([body for body in sent if body]) == 2  # the second time with as many iterations as before
    assert not [body for body in sent if "phrase" in body]
    told = httpx.post(
        f"{web.url}/api/v1/auth/prelogin", json={"email": address}, headers={"Host": "localhost"}
    ).json()
    assert (told["scheme"], told["kdf"]["iterations"]) == ("blind", 700_000)


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_our_own_pages_take_who_comes_from_a_provider_and_open_what_was_closed(
    web_and_worker, open_page, issuer, size
):
    address = f"{secrets.token_hex(6)}@example.com"
    issuer.configure(claims={"email": address, "sub": address})
    web = web_and_worker.web
    base = f"http://localhost:{web.port}"
    page = open_page(f"{base}/account/forgot-password", size)
    begun = page.evaluate(
        """async () => (await (await fetch("/api/v1/auth/login/oidc/acme/options", { method: "POST" })).json())"""
    )
    page.goto(begun["authorization_url"])  # and back
    page.get_by_text("confirm that it is you").wait_for()
    save_screenshot(page, f"account-oidc-{size}")
    assert "code=" not in page.url
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("You are signed in").wait_for()
    bearer = {"Host": "localhost", "Authorization": f"Bearer {page.evaluate(REFRESH)}"}
    closed = httpx.delete(f"{web.url}/api/v1/auth/me", headers={**bearer, "If-Match": "*"})
    assert closed.status_code == 204
    (token,) = wait_until(lambda: web_and_worker.tokens_to(address), seconds=30)
    page = open_page(f"{base}/account/restore-account#{token}", size)
    save_screenshot(page, f"account-restore-{size}")
    page.get_by_role("button", name="Open it again").click()
    page.get_by_text("Your account is open again").wait_for()


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_staff_set_up_a_factor_and_enter_with_it_and_with_a_passkey(web_and_worker, stack, open_page, size):
    web = web_and_worker.web
    address = f"{secrets.token_hex(6)}@example.com"
    stack.manage("create_admin", address, ADMIN_PASSWORD=PASSWORD)
    page = open_page(f"http://localhost:{web.port}/admin/", size)
    save_screenshot(page, f"admin-door-{size}")
    page.get_by_label("E").first.fill(address)
    page.get_by_label("Password:").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    secret = page.locator("code").inner_text()
    save_screenshot(page, f"admin-second-factor-{size}")
    page.get_by_label("Code").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Set up").click()
    page.get_by_text("Keep these recovery codes").wait_for()
    code, second_code = page.locator("#content-main li").all_inner_texts()[:2]
    save_screenshot(page, f"admin-recovery-codes-{size}")
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("heading", name="Administration").wait_for()
    page.locator("#logout-form button").click()
    page.get_by_text("Logged out").wait_for()

    page.goto(f"http://localhost:{web.port}/admin/")
    page.locator("#id_username").fill(address)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_code").fill(code)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Administration").wait_for()
    give_finger(page)
    assert page.evaluate(MAKE_PASSKEY, [address, PASSWORD, second_code]) == 201
    page.locator("#logout-form button").click()
    page.get_by_text("Logged out").wait_for()

    page.goto(f"http://localhost:{web.port}/admin/")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Administration").wait_for()
    assert [trouble for trouble in page.errors if "401" not in trouble] == []
