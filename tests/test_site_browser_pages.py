"""Teams, plans, previews and posts from outside: real processes, a worker, a browser."""

import re
import secrets
import subprocess
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser import WINDOW_SIZES, save_screenshot
from tests.stack import PASSWORD, ROOT, wait_until

pytestmark = pytest.mark.stack


def invitation_link(web_and_worker, address):
    """The link of the last invitation that was mailed to `address`; empty until then."""
    mails = web_and_worker.mails_to(address)
    return re.search(r"https?://\S+/account/invitation#\S+", mails[-1])[0] if mails else ""


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_an_invited_person_joins_on_our_own_page(web_and_worker, person, open_page, size):
    guest = f"guest-{size}-{secrets.token_hex(4)}@example.com"
    site, _ = person.publish()
    sent = person.call("POST", f"sites/{site}/invitations", {"email": guest, "role": "editor"})
    assert sent.status_code == 201
    link = wait_until(lambda: invitation_link(web_and_worker, guest), seconds=30)

    page = open_page(link, size)
    expect(page.locator("#invited")).to_have_text(
        f"{person.email} invites you to work on “Outside” as editor."
    )
    assert page.url.endswith("/account/invitation"), "the token is not in the address any more"
    save_screenshot(page, f"invitation-{size}")
    page.fill("#password", "not the password")
    page.click("button")
    page.locator("#said.bad").wait_for()
    page.check("#fresh")
    expect(page.locator("button")).to_have_text("Make an account and join")
    page.fill("#password", PASSWORD)
    page.click("button")
    page.get_by_text("Welcome. You are now editor of “Outside”.").wait_for()
    save_screenshot(page, f"invitation-{size}-joined")

    members = person.call("GET", f"sites/{site}/members").json()["results"]
    assert {(row["email"], row["role"]) for row in members} == {(person.email, "owner"), (guest, "editor")}
    again = open_page(link, size)
    expect(again.locator("#said")).to_contain_text("This invitation does not work")
    assert not again.locator("#form").is_visible()


def test_a_plan_is_carried_out_by_two_beats_and_two_workers_once(stack, person):
    site, host = person.publish(template="portfolio")
    blueprint = person.call("GET", f"sites/{site}/blueprint").json()
    blueprint["settings"]["title"] = "Planned by clock"
    saved = person.call("PUT", f"sites/{site}/blueprint", blueprint, **{"If-Match": "*"})
    at = datetime.now(UTC) + timedelta(seconds=3)
    planned = person.call(
        "POST", f"sites/{site}/schedules", {"at": at.isoformat()}, **{"If-Match": saved.headers["ETag"]}
    )
    assert planned.status_code == 201, planned.text
    loop = "import time; from django.utils import timezone; from sites.services import publishing\nfor _ in range(60): publishing.publish_scheduled(now=timezone.now()); time.sleep(0.1)"
    command = [str(ROOT / ".venv/bin/python"), "manage.py", "shell", "-v", "0", "-c", loop]
    workers = [subprocess.Popen(command, cwd=ROOT, env=stack.environ) for _ in range(3)]

    webs = [*stack.webs]
    wait_until(lambda: all(b"Planned by clock" in web.get("/", host).content for web in webs), seconds=30)
    for worker in workers:
        assert worker.wait(60) == 0

    releases = person.call("GET", f"sites/{site}/releases").json()["results"]
    assert [(row["number"], row["live"]) for row in releases] == [(2, True), (1, False)]
    trail = person.call("GET", f"audit?event=site.published&site={site}")
    assert trail.status_code == 200, trail.text
    assert len(trail.json()["results"]) == 2


def test_a_planned_publish_outlives_a_worker_that_is_killed(stack, person):
    """Killed while it holds the row: whatever was not committed is as if it had not begun."""
    site, _ = person.publish(template="portfolio")
    at = datetime.now(UTC) + timedelta(seconds=1)
    assert person.call("POST", f"sites/{site}/schedules", {"at": at.isoformat()}).status_code == 201
    script = (
        "import os, signal, time; from django.utils import timezone; from sites.services import publishing\n"
        "publishing.change_stream.announce = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(1.5); publishing.publish_scheduled(now=timezone.now())"
    )
    killed = subprocess.run(
        [str(ROOT / ".venv/bin/python"), "manage.py", "shell", "-v", "0", "-c", script],
        cwd=ROOT,
        env=stack.environ,
        timeout=60,
    )
    assert killed.returncode == -9
    assert len(person.call("GET", f"sites/{site}/releases").json()["results"]) == 1

    later = (
        "from datetime import timedelta; from core.jobs.queue import LEASE; from django.utils import timezone; from sites.services import publishing\n"
        "later = timezone.now() + LEASE + timedelta(minutes=1)\n"
        "print(publishing.publish_scheduled(now=later), publishing.publish_scheduled(now=later + LEASE))"
    )
    assert stack.manage("shell", "-v", "0", "-c", later).strip() == "1 0"
    assert len(person.call("GET", f"sites/{site}/releases").json()["results"]) == 2


@pytest.mark.parametrize("size", WINDOW_SIZES)
def test_a_preview_is_walked_through_in_a_browser(person, open_page, size):
    made = person.call(
        "POST", "sites", {"name": "P", "subdomain": f"p{person.email[:10]}", "template": "bakery"}
    ).json()
    url = person.call("POST", f"sites/{made['id']}/previews", {}).json()["url"]
    url = re.sub(r":\d+/", f":{person.web.port}/", url)

    page = open_page(url, size)
    assert page.errors == []
    assert page.locator(".preview-bar").inner_text() == "Preview: not published yet"
    save_screenshot(page, f"preview-{size}")
    if size == "phone":
        page.click(".nav-small summary")
    page.locator("header nav a:visible").nth(1).click()
    page.wait_for_load_state()
    assert (page.url.startswith(url), page.url != url, page.errors) == (True, True, [])
    assert page.context.cookies() == []
    outside = httpx.get(f"{person.web.url}/", headers={"Host": f"{made['subdomain']}.localhost"})
    assert outside.status_code == 404


def test_the_sample_of_the_guide_runs_from_any_origin(person, open_page):
    """In a page of another host, which no setting of ours names."""
    _, host = person.publish(template="bakery")
    sample = re.search(r"```js\n(.*?)```", (ROOT / "docs" / "sites.md").read_text(), re.DOTALL)[1]
    ours = sample.replace("127.0.0.1:8000", f"localhost:{person.web.port}").replace(
        "my-studio.localhost", host
    )
    assert ours != sample

    page = open_page(f"http://{host}:{person.web.port}/", bypass_csp=True)  # our own pages may fetch nothing
    said = page.evaluate(
        f"async () => {{ const said = []; const console = {{ log: (...words) => said.push(...words) }};\n{ours}\nreturn said; }}"
    )

    assert (said[0], said[1] > 0, said[2] > 0) == ("Marlow & Rye", True, True)
