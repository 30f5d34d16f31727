"""The pages of APP_HOST in Chromium: start page, API documentation, admin login and audit timeline."""

import pytest

from tests.browser import save_screenshot
from tests.stack import PASSWORD

pytestmark = pytest.mark.stack


def test_app_host_pages_open_without_errors(person, open_page):
    for path in ("/", "/api/docs", "/admin/login/"):
        page = open_page(person.web.url + path)
        if path == "/api/docs":
            page.locator(".opblock").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert page.errors == [], path
        save_screenshot(page, f"app-{path.strip('/').replace('/', '-') or 'home'}-desktop")
    assert page.locator("input[type=password]").count() == 1


def test_audit_timeline_shows_events_and_verifies_the_trail(stack, person, open_page):
    person.publish()
    email = f"staff-{person.email}"
    stack.manage("create_admin", email, ADMIN_PASSWORD=PASSWORD)

    page = open_page(f"{person.web.url}/admin/login/?next=/admin/audit/entry/")
    page.fill("input[name=username]", email)
    page.fill("input[name=password]", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_load_state("networkidle")

    assert "/admin/audit/entry/" in page.url
    assert page.errors == []
    assert page.locator("[role=img] > div").count() >= 1
    assert page.get_by_text("site.published").count() >= 1
    page.click("input[value='Verify the whole trail']")
    page.get_by_text("Nothing was verified").wait_for()  # no worker has sealed the entries
    stack.manage("shell", "-c", "from audit.chain.sealing import seal_pending; seal_pending()")
    page.click("input[value='Verify the whole trail']")
    page.get_by_text("The audit trail is intact").wait_for()
    save_screenshot(page, "admin-timeline-desktop")
