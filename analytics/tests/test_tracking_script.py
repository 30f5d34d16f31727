"""The tracking script in Chromium on a published page, with real processes from the browser to the report."""

import pytest

from analytics.ingest import tracking_script
from tests.stack import wait_until

pytestmark = pytest.mark.stack
PROCESS_EVENTS = (
    "from analytics import maintenance, tasks; from django.utils import timezone; "
    "tasks.write_events(); tasks.rebuild_dirty_days(); maintenance.run_maintenance(now=timezone.now())"
)
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
ADD_OUTBOUND_LINK = """
document.body.insertAdjacentHTML(
    "beforeend", "<a id=out href=https://elsewhere.example/x target=_blank>x</a>"
)
"""
# Browsers that a program controls are not counted.
HIDE_AUTOMATION = """Object.defineProperty(navigator, 'webdriver', { get: () => false })"""


def breakdown(person, site, dimension):
    """Page views and events of today by the value of a dimension."""
    rows = person.call("GET", f"sites/{site}/analytics/breakdown?dimension={dimension}&period=today").json()[
        "results"
    ]
    return {row["value"]: (row["pageviews"], row["events"]) for row in rows}


def test_script_text_is_smaller_than_1536_bytes():
    assert len(tracking_script.script_text().encode()) < 1536


def test_head_part_reports_the_visit_of_a_browser(person, stack, browser):
    site, host = person.publish()
    address = f"http://{host}:{person.web.port}"
    context = browser.new_context(user_agent=USER_AGENT, locale="de-DE")
    context.add_init_script(HIDE_AUTOMATION)
    page = context.new_page()
    responses = []
    page.on(
        "response",
        lambda response: (
            responses.append((response.status, response.headers.get("x-drop")))
            if "/_/" in response.url and response.request.method == "POST"
            else None
        ),
    )
    console_errors = []
    page.on(
        "console", lambda message: console_errors.append(message.text) if message.type == "error" else None
    )
    page.goto(f"{address}/?utm_source=newsletter", wait_until="networkidle")
    page.evaluate(
        "analytics('Order', { props: { plan: 'gold' }, revenue: { amount: 12.5, currency: 'EUR' } })"
    )
    page.wait_for_timeout(1500)
    page.evaluate("history.pushState({}, '', '/somewhere')")
    page.wait_for_load_state("networkidle")
    page.evaluate(ADD_OUTBOUND_LINK)
    context.route("**/elsewhere.example/**", lambda route: route.abort())
    page.locator("#out").click()
    page.goto("about:blank")
    assert context.cookies() == []

    def are_events_written():
        stack.manage("shell", "-c", PROCESS_EVENTS)
        return len(breakdown(person, site, "event")) == 2  # the last event is sent when the page is left

    assert wait_until(are_events_written, seconds=60)
    context.close()
    assert breakdown(person, site, "page") == {"/": (1, 1), "/somewhere": (1, 1)}
    assert breakdown(person, site, "source") == {"newsletter": (2, 2)}
    assert breakdown(person, site, "event") == {"Order": (0, 1), "outbound": (0, 1)}
    assert breakdown(person, site, "language") == {"de": (2, 2)}
    metrics = person.call("GET", f"sites/{site}/analytics/summary?period=today").json()["metrics"]
    assert (metrics["visitors"], metrics["visits"], metrics["bounce_rate"]) == (1, 1, 0.0)
    assert {status for status, _ in responses} == {202}
    assert console_errors == []


def test_drops_counts_a_browser_that_a_program_controls(person, stack, browser):
    site, host = person.publish()
    context = browser.new_context(user_agent=USER_AGENT)
    context.new_page().goto(f"http://{host}:{person.web.port}/", wait_until="networkidle")
    context.close()

    def list_drops():
        stack.manage("shell", "-c", PROCESS_EVENTS)
        return person.call("GET", f"sites/{site}/analytics/drops?period=today").json()["results"]

    assert [drop["reason"] for drop in wait_until(list_drops, seconds=30)] == ["bot"]
    assert breakdown(person, site, "page") == {}


def test_head_part_counts_browsers_without_scripts_by_its_image(person, stack, browser):
    site, host = person.publish()
    context = browser.new_context(user_agent=USER_AGENT, java_script_enabled=False)
    context.new_page().goto(f"http://{host}:{person.web.port}/", wait_until="networkidle")
    context.close()

    stack.manage("shell", "-c", PROCESS_EVENTS)
    assert breakdown(person, site, "page") == {"/": (1, 0)}
