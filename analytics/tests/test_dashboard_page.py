"""The dashboard behind a link, in Chromium: what people see and click, on a phone, in the dark, without a
script.
"""

import pytest

from tests.axe import faults, serious_faults
from tests.browser import SIZES, overflow, picture

pytestmark = pytest.mark.stack
PASSWORD = "sourdough & rye"


@pytest.fixture
def shared(person, stack):
    """A bakery with two months of visits, goals, a funnel and a note; a link to its numbers behind a
    password.
    """
    site, host = person.publish()
    stack.manage(
        "analytics_simulate",
        "--sites",
        host.partition(".")[0],
        "--days",
        "60",
        "--events",
        "4000",
        "--i-know",
    )

    def save(what, **given):
        answer = person.call("POST", f"sites/{site}/analytics/{what}", given)
        assert answer.status_code == 201, answer.text
        return answer.json()

    save("goals", name="Orders", conditions=["event:is:Order"])
    save("goals", name="Looked at the bread", conditions=["page:is:/bread"])
    save(
        "funnels",
        name="From the door to an order",
        conditions=["page:is:/", "page:is:/bread", "event:is:Order"],
    )
    day = person.call("GET", f"sites/{site}/analytics/summary").json()["range"]["first"]
    save("annotations", day=day, text="The new oven is here")
    url = save("shares", name="Numbers of the bakery", password=PASSWORD)["url"]
    return f"http://localhost:{person.web.port}/shared/{url.rpartition('/')[2]}"


def test_a_person_opens_reads_and_filters_the_numbers(shared, look):
    for size in SIZES:
        page = look(shared, size, color_scheme="dark" if size == "phone" else "light")
        picture(page, f"board-door-{size}")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Show the numbers").click()
        page.get_by_text("That is not the password.").wait_for()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Show the numbers").click()
        page.get_by_role("heading", name="Visitors by day").wait_for()
        troubles = [one for one in page.troubles if "401" not in one]
        assert (troubles, overflow(page)) == ([], 0)
        picture(page, f"board-{size}")
        found = faults(page, size)
        page.get_by_role("link", name="/bread", exact=True).first.click()
        page.get_by_role("link", name="Without: Page is /bread").wait_for()
        page.get_by_role("link", name="Page views").first.click()
        page.get_by_role("heading", name="Page views by day").wait_for()
        page.get_by_role("link", name="12 months").click()
        page.get_by_role("heading", name="Page views by week").wait_for()
        page.get_by_role("link", name="Browsers").click()
        for summary in page.get_by_text("As a table").all():
            summary.click()
        assert overflow(page) == 0
        picture(page, f"board-filtered-{size}")
        found += faults(page, f"{size}, filtered")
        page.get_by_role("link", name="Without: Page is /bread").click()
        page.get_by_role("heading", name="Page views by week").wait_for()
        assert serious_faults(found) == []


def test_it_can_be_read_without_a_script_and_printed(shared, look):
    page = look(shared)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Show the numbers").click()
    page.get_by_role("heading", name="Visitors by day").wait_for()

    assert page.locator("script").count() == 0
    page.emulate_media(media="print")
    assert not page.get_by_role("link", name="30 days").is_visible()
    picture(page, "board-print")
