"""How a person uses the page at `/vault/`, in Playwright."""

import secrets

from playwright.sync_api import expect

PASSWORD = "correct horse battery staple"
SIGN_UP = "Create an account"


def new_email():
    return f"{secrets.token_hex(6)}@example.com"


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def enter(page, email, password=PASSWORD, *, button="Open"):
    """Sign in, or sign up with the button `SIGN_UP`, and wait until the vault is shown."""
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name=button).click()
    if button == SIGN_UP:
        page.get_by_label("Password again", exact=True).fill(password)
        press(page, "Create my vault")
    page.get_by_role("button", name="Add").wait_for()
    return page


def fill_and_save(page, **fields):
    """Fill fields of the editor by label (`User_name` for "User name") and save."""
    for label, text in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(text)
    press(page, "Save")


def wait_until_saved(page):
    page.locator("#editor").wait_for(state="hidden")
    expect(page.get_by_role("status")).to_have_text("Saved.")


def add_item(page, **fields):
    press(page, "Add")
    fill_and_save(page, **fields)
    wait_until_saved(page)


def list_item(page, name):
    return page.get_by_role("listitem").filter(has_text=name)


def read_secret(page, name):
    """Open an item, read its secret and close it again."""
    list_item(page, name).locator(".item").click()
    page.locator("#editor").wait_for()
    secret = page.get_by_label("Secret", exact=True).input_value()
    press(page, "Cancel")
    return secret
