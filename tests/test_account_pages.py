"""Accounts in Chromium: the samples of docs/accounts.md, the pages of mailed links, and the admin login."""

import re
import secrets
import zipfile

import httpx
import pyotp
import pytest
from playwright.sync_api import expect

from accounts.tests.helpers import auth_hash
from tests.browser import WINDOW_SIZES, save_screenshot
from tests.stack import PASSWORD, ROOT, wait_until

pytestmark = pytest.mark.stack

# The samples of the guide, as one function. It returns the results of its calls by the names they have there.
GUIDE_FUNCTION = """
(async () => {{
  {samples}
  return {{
    signUp, login, refreshed, me, confirmed, first, second, passkey, byPasskey, again, moved, changed, forgot,
    reset, sessions, revoked, byKey: {{status: byKey.status}}, byProvider, blindSignUp, prelogin, blindLogin,
    requested, archive, zip: {{status: zip.status}}, closed, reopened,
    vector: (await derive({vector})).auth_hash,
  }};
}})()
"""
VECTOR = """"correct horse battery staple", {
  kdf: { algorithm: "PBKDF2-SHA256", iterations: 600000 }, salt: "AAECAwQFBgcICQoLDA0ODw==" }"""
CREATE_PASSKEY = """async ([email, password, recovery_code]) => {
  const call = async (path, body, access) => (await fetch(`/api/v1/auth/${path}`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...(access && { Authorization: `Bearer ${access}` }) },
  }));
  const { challenge } = await (await call("login", { email, password })).json();
  const { access } = await (await call("mfa/verify", { challenge, recovery_code })).json();
  const options = await (await call("passkeys/options", {}, access)).json();
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.public_key);
  const credential = await navigator.credentials.create({ publicKey });
  const body = { challenge: options.challenge, credential: credential.toJSON(), name: "Laptop" };
  const response = await call("passkeys", body, access);
  await response.json();
  return response.status;
}"""
REFRESH = """async () => {
  const headers = { "Content-Type": "application/json", "X-Requested-With": "fetch" };
  const response = await fetch("/api/v1/auth/refresh", { method: "POST", body: "{}", headers });
  return (await response.json()).access;
}"""
BLIND_SIGN_UP = """async (email) => {
  const { newSecret } = await import("/static/vault/keys.js");
  const body = JSON.stringify({ email, ...(await newSecret("the first long phrase", 700000)).fields });
  const headers = { "Content-Type": "application/json" };
  return (await fetch("/api/v1/auth/register", { method: "POST", headers, body })).status;
}"""
REQUEST_EXPORT = """async ([email, password]) => {
  const { callApi } = await import("/static/accounts/sign_in.js");
  const { access } = await callApi("auth/login", { email, password });
  return (await callApi("auth/me/export", {}, access)).state;
}"""
OIDC_OPTIONS = """async () =>
  (await (await fetch("/api/v1/auth/login/oidc/acme/options", { method: "POST" })).json())"""


def add_virtual_authenticator(page):
    """Give the browser a WebAuthn authenticator that verifies its user."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_accounts_guide_samples_run_in_a_browser(web_and_worker, open_page, issuer):
    page = open_page(f"http://localhost:{web_and_worker.web.port}/account/forgot-password")
    used_tokens: list[str] = []

    def mailed_token(address: str) -> str:
        def new_tokens():
            links = [link for link in web_and_worker.links_to(address) if "/data-export#" not in link]
            return [token for link in links if (token := link.partition("#")[2]) not in used_tokens]

        token = wait_until(new_tokens, seconds=30)[-1]
        used_tokens.append(token)
        return token

    page.expose_function("mailedToken", mailed_token)
    page.expose_function("codeOf", lambda secret: pyotp.TOTP(secret).now())
    page.expose_function("comeBack", issuer.authorize)
    add_virtual_authenticator(page)
    guide = (ROOT / "docs" / "accounts.md").read_text()
    samples = "\n".join(re.findall(r"(?ms)^```js\n(.*?)^```", guide))

    results = page.evaluate(GUIDE_FUNCTION.format(samples=samples, vector=VECTOR))

    vector = results.pop("vector")
    assert vector in guide
    assert vector == auth_hash("correct horse battery staple", bytes(range(16)))
    assert {name: result["status"] for name, result in results.items()} == {
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
        "prelogin": 200,
        "blindLogin": 200,
        "requested": 202,
        "archive": 200,
        "zip": 200,
        "closed": 204,
        "reopened": 204,
    }
    assert results["me"]["data"]["email"] == "ada@example.com"


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_account_pages_confirm_an_address_and_reset_a_password(web_and_worker, open_page, size):
    base = f"http://localhost:{web_and_worker.web.port}/account"
    address = web_and_worker.sign_up()
    (link,) = wait_until(lambda: web_and_worker.links_to(address), seconds=30)
    assert link.startswith(f"{base}/verify-email#")

    page = open_page(link, size)
    save_screenshot(page, f"account-verify-{size}")
    assert "#" not in page.url
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Your address is confirmed").wait_for()

    page = open_page(f"{base}/forgot-password", size)
    page.get_by_label("E-mail address").fill(address)
    page.keyboard.press("Enter")
    page.get_by_text("we have sent a mail").wait_for()
    wait_until(lambda: len(web_and_worker.links_to(address)) == 2, seconds=30)
    link = web_and_worker.links_to(address)[1]
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


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_reset_password_page_of_a_blind_account_never_sends_the_password(web_and_worker, open_page, size):
    web = web_and_worker.web
    address = f"{secrets.token_hex(6)}@example.com"
    base = f"http://localhost:{web.port}/account"
    page = open_page(f"{base}/forgot-password", size)
    assert page.evaluate(BLIND_SIGN_UP, address) == 202
    (token,) = wait_until(lambda: web_and_worker.tokens_to(address), seconds=30)
    page = open_page(f"{base}/verify-email#{token}", size)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Your address is confirmed").wait_for()
    page = open_page(f"{base}/forgot-password", size)
    page.get_by_label("E-mail address").fill(address)
    page.keyboard.press("Enter")
    page.get_by_text("we have sent a mail").wait_for()
    wait_until(lambda: len(web_and_worker.tokens_to(address)) == 2, seconds=30)
    token = web_and_worker.tokens_to(address)[1]

    page = open_page(f"{base}/reset-password?scheme=blind#{token}", size)
    bodies = []
    page.on("request", lambda request: bodies.append(request.post_data or ""))
    save_screenshot(page, f"account-reset-blind-{size}")
    page.get_by_label("New password").fill("the second long phrase")
    page.get_by_role("button", name="Use this password").click()
    assert not bodies  # the box is not ticked
    page.get_by_label("I understand that my vault will be lost").check()
    page.get_by_role("button", name="Use this password").click()
    page.get_by_text("Sign in with your new password").wait_for()

    assert len([body for body in bodies if body]) == 2  # the second one with the iterations of the account
    assert not [body for body in bodies if "phrase" in body]
    prelogin = httpx.post(
        f"{web.url}/api/v1/auth/prelogin", json={"email": address}, headers={"Host": "localhost"}
    ).json()
    assert (prelogin["scheme"], prelogin["kdf"]["iterations"]) == ("blind", 700_000)


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_account_pages_complete_an_oidc_login_and_restore_a_closed_account(
    web_and_worker, open_page, issuer, size
):
    address = f"{secrets.token_hex(6)}@example.com"
    issuer.configure(claims={"email": address, "sub": address})
    web = web_and_worker.web
    base = f"http://localhost:{web.port}"
    page = open_page(f"{base}/account/forgot-password", size)
    page.goto(page.evaluate(OIDC_OPTIONS)["authorization_url"])  # the provider redirects back at once
    page.get_by_text("confirm that you want to sign in").wait_for()
    save_screenshot(page, f"account-oidc-{size}")
    assert "code=" not in page.url
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("You are signed in").wait_for()

    bearer = {"Host": "localhost", "Authorization": f"Bearer {page.evaluate(REFRESH)}"}
    response = httpx.delete(f"{web.url}/api/v1/auth/me", headers={**bearer, "If-Match": "*"})
    assert response.status_code == 204
    (token,) = wait_until(lambda: web_and_worker.tokens_to(address), seconds=30)
    page = open_page(f"{base}/account/restore-account#{token}", size)
    save_screenshot(page, f"account-restore-{size}")
    page.get_by_role("button", name="Restore").click()
    page.get_by_text("Your account is restored").wait_for()


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_data_export_page_downloads_the_archive_after_a_sign_in(web_and_worker, open_page, size):
    address = web_and_worker.sign_up()
    (token,) = wait_until(lambda: web_and_worker.tokens_to(address), seconds=30)
    page = open_page(f"http://localhost:{web_and_worker.web.port}/account/verify-email#{token}", size)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Your address is confirmed").wait_for()
    page.evaluate(REQUEST_EXPORT, [address, PASSWORD])
    link = wait_until(lambda: web_and_worker.links_to(address)[1:], seconds=30)[0]

    page = open_page(link, size)  # a browser that is not signed in
    save_screenshot(page, f"account-data-export-{size}")
    assert "#" not in page.url
    page.get_by_label("E-mail address").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    page.get_by_text("saved the archive").wait_for()
    assert "account.json" in zipfile.ZipFile(download.value.path()).namelist()

    with page.expect_download():  # now it is signed in
        page.goto("about:blank")
        page.goto(link)


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_admin_login_sets_up_totp_and_accepts_recovery_code_and_passkey(
    web_and_worker, stack, open_page, size
):
    admin_url = f"http://localhost:{web_and_worker.web.port}/admin/"
    address = f"{secrets.token_hex(6)}@example.com"
    stack.manage("create_admin", address, ADMIN_PASSWORD=PASSWORD)
    page = open_page(admin_url, size)
    save_screenshot(page, f"admin-login-{size}")
    page.get_by_label("E").first.fill(address)
    page.get_by_label("Password:").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    secret = page.locator("code").inner_text()
    save_screenshot(page, f"admin-second-factor-{size}")
    page.get_by_label("Code").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Set up").click()
    page.get_by_text("Keep these recovery codes").wait_for()
    first_code, second_code = page.locator("#content-main li").all_inner_texts()[:2]
    save_screenshot(page, f"admin-recovery-codes-{size}")
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("heading", name="Administration").wait_for()
    page.locator("#logout-form button").click()
    page.get_by_text("Logged out").wait_for()

    page.goto(admin_url)
    page.locator("#id_username").fill(address)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_code").fill(first_code)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Administration").wait_for()
    add_virtual_authenticator(page)
    assert page.evaluate(CREATE_PASSKEY, [address, PASSWORD, second_code]) == 201
    page.locator("#logout-form button").click()
    page.get_by_text("Logged out").wait_for()

    page.goto(admin_url)
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Administration").wait_for()
    assert [error for error in page.errors if "401" not in error] == []
