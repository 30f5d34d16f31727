"""The dashboard behind a link in Chromium: on several screen sizes, in dark mode, and printed."""

import pytest

from tests.axe import find_violations, violations_if_serious
from tests.browser import WINDOW_SIZES, overflow_pixels, save_screenshot
from tests.stack import RegisteredUser

pytestmark = pytest.mark.stack
PASSWORD = "sourdough & rye"


@pytest.fixture(scope="module")
def share_url(stack):
    """The URL of a link with a password, of a site with two months of visits, goals, a funnel and a note."""
    person = RegisteredUser(stack.webs[0])
    site, host = person.publish()
    stack.manage(
        "analytics_simulate",
        "--sites",
        host.partition(".")[0],
        "--days",
        "60",
        "--events",
        "1500",
        "--i-know",
    )

    def create(resource, **fields):
        response = person.call("POST", f"sites/{site}/analytics/{resource}", fields)
        assert response.status_code == 201, response.text
        return response.json()

    create("goals", name="Orders", conditions=["event:is:Order"])
    create("goals", name="Viewed the bread", conditions=["page:is:/bread"])
    create(
        "funnels",
        name="From the start page to an order",
        conditions=["page:is:/", "page:is:/bread", "event:is:Order"],
    )
    day = person.call("GET", f"sites/{site}/analytics/summary").json()["range"]["first"]
    create("annotations", day=day, text="The new oven is here")
    url = create("shares", name="Numbers of the bakery", password=PASSWORD)["url"]
    person.browser.close()
    return f"http://localhost:{person.web.port}/shared/{url.rpartition('/')[2]}"


def test_shared_dashboard_page_is_unlocked_and_filtered_in_a_browser(share_url, open_page):
    for size in WINDOW_SIZES:
        page = open_page(share_url, size, color_scheme="dark" if size == "phone" else "light")
        save_screenshot(page, f"dashboard-password-{size}")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Show the dashboard").click()
        page.get_by_text("This password is wrong.").wait_for()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Show the dashboard").click()
        page.get_by_role("heading", name="Visitors by day").wait_for()
        errors = [error for error in page.errors if "401" not in error]
        assert (errors, overflow_pixels(page)) == ([], 0)
        save_screenshot(page, f"dashboard-{size}")
        accessibility_faults = find_violations(page, size)
        page.get_by_role("link", name="/bread", exact=True).first.click()
        page.get_by_role("link", name="Remove the filter Page is /bread").wait_for()
        page.get_by_role("link", name="Page views").first.click()
        page.get_by_role("heading", name="Page views by day").wait_for()
        page.get_by_role("link", name="12 months").click()
        page.get_by_role("heading", name="Page views by week").wait_for()
        page.get_by_role("link", name="Browsers").click()
        for summary in page.get_by_text("Show as a table").all():
            summary.click()
        assert overflow_pixels(page) == 0
        save_screenshot(page, f"dashboard-filtered-{size}")
        accessibility_faults += find_violations(page, f"{size}, filtered")
        page.get_by_role("link", name="Remove the filter Page is /bread").click()
        page.get_by_role("heading", name="Page views by week").wait_for()
        assert violations_if_serious(accessibility_faults) == []


def test_shared_dashboard_page_has_no_script_and_can_be_printed(share_url, open_page):
    page = open_page(share_url)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Show the dashboard").click()
    page.get_by_role("heading", name="Visitors by day").wait_for()

    assert page.locator("script").count() == 0
    page.emulate_media(media="print")
    assert not page.get_by_role("link", name="30 days").is_visible()
    save_screenshot(page, "dashboard-print")
