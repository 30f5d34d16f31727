"""From a browser to a report: the script in Chromium, on a published page, through real processes."""

import pytest

from analytics.ingest import tracking_script
from tests.stack import eventually

pytestmark = pytest.mark.stack
WRITE = "from analytics import maintenance, tasks; from django.utils import timezone; tasks.write_events(); tasks.rebuild_dirty_days(); maintenance.run_maintenance(now=timezone.now())"
AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
LINK = """document.body.insertAdjacentHTML("beforeend", "<a id=out href=https://elsewhere.example/x target=_blank>x</a>")"""
PEOPLE = """Object.defineProperty(navigator, 'webdriver', { get: () => false })"""


def breakdown(person, site, dimension):
    rows = person.call("GET", f"sites/{site}/analytics/breakdown?dimension={dimension}&period=today").json()[
        "results"
    ]
    return {row["value"]: (row["pageviews"], row["events"]) for row in rows}


def test_the_script_is_small():
    assert len(tracking_script.script_text().encode()) < 1536


def test_a_visit_in_a_browser_becomes_a_report(person, stack, browser):
    site, host = person.publish()
    address = f"http://{host}:{person.web.port}"
    context = browser.new_context(user_agent=AGENT, locale="de-DE")
    context.add_init_script(PEOPLE)
    page = context.new_page()
    answers = []
    page.on(
        "response",
        lambda answer: (
            answers.append((answer.status, answer.headers.get("x-drop")))
            if "/_/" in answer.url and answer.request.method == "POST"
            else None
        ),
    )
    troubles = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.goto(f"{address}/?utm_source=newsletter", wait_until="networkidle")
    page.evaluate(
        "analytics('Order', { props: { plan: 'gold' }, revenue: { amount: 12.5, currency: 'EUR' } })"
    )
    page.wait_for_timeout(1500)
    page.evaluate("history.pushState({}, '', '/somewhere')")
    page.wait_for_load_state("networkidle")
    page.evaluate(LINK)
    context.route("**/elsewhere.example/**", lambda route: route.abort())
    page.locator("#out").click()
    page.goto("about:blank")
    assert context.cookies() == []

    def written():
        stack.manage("shell", "-c", WRITE)
        return len(breakdown(person, site, "event")) == 2  # what was sent last came, too

    assert eventually(written, seconds=60)
    context.close()
    assert breakdown(person, site, "page") == {"/": (1, 1), "/somewhere": (1, 1)}
    assert breakdown(person, site, "source") == {"newsletter": (2, 2)}
    assert breakdown(person, site, "event") == {"Order": (0, 1), "outbound": (0, 1)}
    assert breakdown(person, site, "language") == {"de": (2, 2)}
    found = person.call("GET", f"sites/{site}/analytics/summary?period=today").json()["metrics"]
    assert (found["visitors"], found["visits"], found["bounce_rate"]) == (1, 1, 0.0)
    assert {status for status, _ in answers} == {202}
    assert troubles == []


def test_a_browser_that_is_driven_is_dropped_and_the_owner_learns_why(person, stack, browser):
    site, host = person.publish()
    context = browser.new_context(user_agent=AGENT)
    context.new_page().goto(f"http://{host}:{person.web.port}/", wait_until="networkidle")
    context.close()

    def dropped():
        stack.manage("shell", "-c", WRITE)
        return person.call("GET", f"sites/{site}/analytics/drops?period=today").json()["results"]

    assert [drop["reason"] for drop in eventually(dropped, seconds=30)] == ["bot"]
    assert breakdown(person, site, "page") == {}


def test_without_scripts_the_picture_counts(person, stack, browser):
    site, host = person.publish()
    context = browser.new_context(user_agent=AGENT, java_script_enabled=False)
    context.new_page().goto(f"http://{host}:{person.web.port}/", wait_until="networkidle")
    context.close()

    stack.manage("shell", "-c", WRITE)
    assert breakdown(person, site, "page") == {"/": (1, 0)}
