"""The pages of APP_HOST in Chromium: start page, API documentation, admin sign-in and the audit timeline."""

import pytest

from tests.browser import save_screenshot

pytestmark = pytest.mark.stack


def test_the_api_docs_and_the_admin_open_without_an_error(person, open_page):
    for path in ("/", "/api/docs", "/admin/login/"):
        page = open_page(person.web.url + path)
        if path == "/api/docs":
            page.locator(".opblock").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert page.errors == [], path
        save_screenshot(page, f"app-{path.strip('/').replace('/', '-') or 'home'}-desktop")
    assert page.locator("input[type=password]").count() == 1


def test_staff_see_the_timeline_of_the_trail(stack, person, open_page):
    person.publish()
    email = f"staff-{person.email}"
    stack.manage("create_admin", email, ADMIN_PASSWORD="correct horse battery staple")

    page = open_page(f"{person.web.url}/admin/login/?next=/admin/audit/entry/")
    page.fill("input[name=username]", email)
    page.fill("input[name=password]", "correct horse battery staple")
    page.click("input[type=submit]")
    page.wait_for_load_state("networkidle")

    assert "/admin/audit/entry/" in page.url
    assert page.errors == []
    assert page.locator("[role=img] > div").count() >= 1
    assert page.get_by_text("site.published").count() >= 1
    page.click("input[value='Verify the whole trail']")
    page.get_by_text("The trail is whole").wait_for()
    save_screenshot(page, "admin-timeline-desktop")
