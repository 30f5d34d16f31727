"""Names that hold scripts are shown as text wherever staff see them in the admin, in Chromium.

The cases are those of `sites/tests/scripts.txt`.
"""

import json
import os
from urllib.parse import urlencode

import pytest

from core.http.json_parser import is_storable
from sites.tests.hostile_text import CASES
from tests.page_monitor import INSPECT_ADMIN_PAGE, TRIGGER_ALL_EVENTS
from tests.stack import PASSWORD

pytestmark = pytest.mark.stack
SOAK = bool(os.environ.get("SOAK"))
MAX_NAME_CHARACTERS = 120
CREATE_NAMED_ROWS = """
import json, os
from accounts.models import User
from core import tenancy
from sites.models import Site
names = json.loads(os.environ["NAMES"])
users = User.objects.bulk_create([
    User(email=f"{number}@names.example", name=name) for number, name in enumerate(names)
])
with tenancy.context(tenancy.SYSTEM):
    Site.objects.bulk_create([
        Site(owner=user, name=user.name, subdomain=f"named-{number}") for number, user in enumerate(users)
    ])
"""


@pytest.fixture(scope="module")
def names(stack):
    """The cases that fit into a name. Each is the name of a user and of a site."""
    fitting = [case for case in CASES if is_storable(case) and len(case) <= MAX_NAME_CHARACTERS]
    stack.manage("shell", "--no-imports", "-c", CREATE_NAMED_ROWS, NAMES=json.dumps(fitting))
    return fitting


@pytest.fixture
def staff_monitor(stack, open_monitor):
    """A page monitor with one tab, signed in to the admin."""
    email = f"{os.urandom(6).hex()}@example.com"
    stack.manage("create_admin", email, ADMIN_PASSWORD=PASSWORD)
    monitor = open_monitor(tabs=1)
    page = monitor.open(f"{stack.webs[0].url}/admin/login/?next=/admin/")
    page.fill("input[name=username]", email)
    page.fill("input[name=password]", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_load_state()
    return monitor


def normalise(text):
    """The text as a browser shows it: carriage returns and repeated spaces become one space."""
    return " ".join(text.replace("\r", " ").split())


def open_and_inspect(monitor, address):
    """Open an admin page, assert that its elements are harmless, and trigger every event."""
    page = monitor.open(address)
    assert page.evaluate(INSPECT_ADMIN_PAGE) == [], address
    page.evaluate(TRIGGER_ALL_EVENTS)
    return page


@pytest.mark.parametrize("model", ["accounts/user", "sites/site"])
def test_admin_changelist_and_change_pages_show_names_as_text(stack, staff_monitor, names, model):
    admin_url = f"{stack.webs[0].url}/admin"
    listed_names = set()
    change_pages = []
    for number in range(1, len(names) // 100 + 2):
        page = open_and_inspect(staff_monitor, f"{admin_url}/{model}/?p={number}&q=name")
        listed_names |= set(page.locator("#result_list .field-name").all_text_contents())
        links = page.locator("#result_list th a")
        change_pages += links.evaluate_all("links => links.map(link => link.href)")
    assert {normalise(name) for name in names} <= {normalise(name) for name in listed_names}
    for address in change_pages[:: 10 if SOAK else 100]:
        open_and_inspect(staff_monitor, address)
    open_and_inspect(staff_monitor, change_pages[0].replace("/change/", "/history/"))

    assert staff_monitor.close() == []


def test_admin_search_and_related_pages_show_names_as_text(stack, staff_monitor, names):
    admin_url = f"{stack.webs[0].url}/admin"
    for case in names[:: 10 if SOAK else 150]:
        open_and_inspect(staff_monitor, f"{admin_url}/sites/site/?{urlencode({'q': case})}")
    for model in ("sites/release", "sites/revision", "audit/entry", "accounts/session"):
        open_and_inspect(staff_monitor, f"{admin_url}/{model}/")

    assert staff_monitor.close() == []


def test_admin_action_messages_show_names_as_text(stack, staff_monitor, names):
    page = staff_monitor.open(f"{stack.webs[0].url}/admin/sites/site/?q=named-")
    page.check("#action-toggle")
    page.select_option("select[name=action]", "publish")
    page.click("button[name=index]")
    page.wait_for_load_state()

    assert page.locator(".messagelist li").count() > 90
    assert page.evaluate(INSPECT_ADMIN_PAGE) == []
    page.evaluate(TRIGGER_ALL_EVENTS)
    assert staff_monitor.close() == []
