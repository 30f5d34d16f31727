"""What customers store is words to a real browser, with the page's policy and without it; and so are names in
the admin.

The cases are `sites/tests/scripts.txt`. A new place that customers write to goes into `SURFACES`.
"""

import json
import os
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from html import escape
from itertools import cycle
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import httpx
import pytest

from core.http.json_parser import is_storable
from core.http.json_pointer import json_pointer
from sites.blueprint.blocks.fields import RICH_TAGS
from sites.serializers.sites import VISIBLE_CHARACTERS
from sites.tests.hostile_text import (
    CASES,
    can_run_script,
    harmless_document,
    text_and_url_paths,
    validate_with_text,
    value_at,
    with_text_at,
    without_indexes,
)
from tests.stack import PASSWORD, Person
from tests.watched import ADMIN_LOOK, LOOK, TOUCH, Watched

pytestmark = pytest.mark.stack
STORABLE = [case for case in CASES if is_storable(case)]
SOAK = bool(os.environ.get("SOAK"))
TOGETHER = 8  # cases of one site, at most
LENGTHS = [20, 40, 60, 120, 200, 320, 2_000]
SAFE = "https://example.com"


@pytest.fixture
def watched(browser):
    opened = []

    def watch(**options):
        opened.append(Watched(browser, **options))
        return opened[-1]

    yield watch
    for each in opened:
        each.context.close()


@cache
def limits():
    """How many characters each place for words takes, as far as the cases are concerned."""
    known = {}
    for length in LENGTHS:
        _, refused = validate_with_text(harmless_document(), text_and_url_paths()[0], "x" * length)
        known |= dict.fromkeys(text_and_url_paths()[0] - refused.keys(), length)
    return known


def packed():
    """The cases in sets of a site each: together they fit into its title."""
    sets = [[]]
    for case in STORABLE:
        if len(sets[-1]) == TOGETHER or len(" ".join([*sets[-1], case])) > 200:
            sets.append([])
        sets[-1].append(case)
    return sets


def words_for(cases):
    """What stands at each place: all cases where they fit, else one that does, so that each has its turn."""
    turns = defaultdict(lambda: cycle(cases))
    for place, limit in sorted(limits().items(), key=lambda item: json_pointer(item[0])):
        together = " ".join(cases)
        fitting = [next(turns[without_indexes(place)]) for _ in cases]
        next(turns[without_indexes(place)])
        one = next((case for case in fitting if len(case) <= limit), "word")
        yield place, together if len(together) <= limit else one


def in_blueprint(owner, site, cases):
    """A page with every kind of block, and each case once more as rich text of its own."""
    document = with_text_at(harmless_document(), [], "")
    for place, text in words_for(cases):
        value_at(document, place[:-1])[place[-1]] = text
    document["pages"][0]["blocks"] += [
        {"id": f"alone-{number}", "type": "text", "props": {"html": html}}
        for number, html in enumerate([*cases, *["word"] * TOGETHER][:TOGETHER])
    ]
    addresses = {
        json_pointer(place): (place, case)
        for place, case in zip(sorted(text_and_url_paths()[1], key=json_pointer), cycle(cases))
    }
    for place, case in addresses.values():
        value_at(document, place[:-1])[place[-1]] = case

    answer = owner.call("PUT", f"sites/{site}/blueprint", document, **{"If-Match": '"1"'})
    if answer.status_code != 200:
        refused = {error["pointer"]: error["code"] for error in answer.json()["errors"]}
        assert (answer.status_code, set(refused.values()), refused.keys() - addresses) == (
            400,
            {"value_error"},
            set(),
        )
        for place, _ in map(addresses.pop, refused):
            value_at(document, place[:-1])[place[-1]] = SAFE
        answer = owner.call("PUT", f"sites/{site}/blueprint", document, **{"If-Match": '"1"'})
    assert answer.status_code == 200, answer.text
    assert not [case for _, case in addresses.values() if can_run_script(case) or case.startswith("//")]
    assert owner.call("POST", f"sites/{site}/publish").status_code == 201
    return {"page": "/"}


def in_posts(owner, site, cases):
    """A post with the cases for a title, an excerpt, tags and text; its author's name is one of them."""
    tags = [case.strip() for case in cases if len(case) <= 40 and not re.search(r"[\x00-\x1f\x7f/\\]", case)]
    post = {
        "title": " ".join(cases),
        "excerpt": "\n".join(cases),
        "tags": [*tags, *(f"word {number}" for number in range(TOGETHER))][:TOGETHER],
        "blocks": [{"id": "text", "type": "text", "props": {"html": "".join(cases)}}],
        "published_at": "2024-01-01T00:00:00Z",
    }
    made = owner.call("POST", f"sites/{site}/posts", post)
    assert made.status_code == 201, made.text
    return {"post": f"/blog/{made.json()['slug']}"}


# Where customers write what visitors see. Each stores `cases` in every string it has and returns the paths
# that show them, by the kind of page; pages of one kind have the same elements whatever the cases are.
SURFACES = [in_blueprint, in_posts]


def stored(owner, cases):
    """A site with `cases` everywhere: the addresses of its pages by kind."""
    name = next(
        (case for case in cases if len(case) <= 120 and VISIBLE_CHARACTERS.match(case.strip())), "word"
    )
    assert owner.call("PATCH", "auth/me", {"name": name}, **{"If-Match": "*"}).status_code == 200
    made = owner.call("POST", "sites", {"name": name, "subdomain": f"s{os.urandom(6).hex()}"})
    assert made.status_code == 201, made.text
    paths = {
        kind: path for store in SURFACES for kind, path in store(owner, made.json()["id"], cases).items()
    }
    return {
        kind: f"http://{made.json()['subdomain']}.localhost:{owner.web.port}{path}"
        for kind, path in paths.items()
    }


@pytest.fixture(scope="module")
def owners(stack):
    made = [Person(web) for web in stack.webs]
    yield made
    for owner in made:
        owner.browser.close()


@pytest.fixture(scope="module")
def sites(owners):
    """A site without any script, and those with all of them."""
    calm = stored(owners[0], ["word"])
    sets = packed()
    with ThreadPoolExecutor(len(owners)) as pool:
        made = pool.map(
            lambda turn: [stored(owners[turn], cases) for cases in sets[turn :: len(owners)]], range(2)
        )
        return calm, [site for each in made for site in each]


def test_each_case_stands_in_each_kind_of_string():
    kinds = defaultdict(set)
    for cases in packed():
        for place, text in words_for(cases):
            kinds[without_indexes(place)] |= {case for case in cases if case in text}

    limit_of = {without_indexes(place): limit for place, limit in limits().items()}
    for kind in sorted(kinds):
        limit = limit_of[kind]
        if limit >= 200 or kind[-2:] in {("navigation", "label"), ("actions", "label")}:
            assert kinds[kind] >= {case for case in STORABLE if len(case) <= limit}, kind


def test_what_no_text_may_hold_is_refused(person):
    made = person.call("POST", "sites", {"name": "Scripts", "subdomain": f"s{os.urandom(6).hex()}"}).json()

    for case in set(CASES) - set(STORABLE):
        document = {"settings": {"title": case}, "pages": []}
        answer = person.call("PUT", f"sites/{made['id']}/blueprint", document, **{"If-Match": '"1"'})
        assert answer.status_code == 400, case


@pytest.fixture
def visitor():
    with httpx.Client(headers={"Accept-Encoding": "identity"}) as client:
        yield client


def told(visitor, address):
    """The page of the host in the query as its server sends it, but as if it were at `address`, where all
    pictures are known by now, and with a policy that only reports: what it would stop runs, and is told.
    """
    parts = urlsplit(address)
    here = parts.netloc
    there = parts.query or parts.netloc
    answer = visitor.get(f"http://127.0.0.1:{there.partition(':')[2]}{parts.path}", headers={"Host": there})
    policy = {"Content-Security-Policy-Report-Only": answer.headers["Content-Security-Policy"]}
    headers = {"Content-Type": answer.headers["Content-Type"], **policy}
    return {"body": answer.content.replace(there.encode(), here.encode()), "headers": headers}


def test_nothing_would_run_without_the_policy_and_no_element_is_the_customers(sites, watched, visitor):
    calm, hostile = sites
    tabs = watched()
    pages = re.compile(r"^http://[^/.]+\.localhost:\d+/(?!_/)")
    tabs.context.route(pages, lambda route: route.fulfill(**told(visitor, route.request.url)))
    usually = {kind: tabs.open(address).evaluate(LOOK, sorted(RICH_TAGS)) for kind, address in calm.items()}
    assert [seen["wrong"] for seen in usually.values()] == [[] for _ in usually]

    shown = [
        (kind, f"{calm['page'].rstrip('/')}{urlsplit(address).path}?{urlsplit(address).netloc}")
        for number, site in enumerate(hostile)
        for kind, address in site.items()
        if SOAK or number % 8 == (0 if kind == "page" else 4)
    ]
    for kind, address in shown:
        page = tabs.open(address)
        seen = page.evaluate(LOOK, sorted(RICH_TAGS))
        assert (seen["wrong"], tabs.found) == ([], []), address
        assert (seen["tags"], seen["values"]) == (usually[kind]["tags"], usually[kind]["values"]), address
        assert set(seen["attributes"]) <= set(usually[kind]["attributes"]), address
        page.evaluate(TOUCH)
        assert page.url.partition("#")[0] == address

    assert tabs.close() == []


def test_generated_files_are_whole_and_hold_nothing_of_another_language(sites, visitor):
    languages = {
        "http://www.sitemaps.org/schemas/sitemap/0.9",
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/2005/Atom",
    }
    for site in sites[1]:
        for path in ("sitemap.xml", "favicon.svg", "blog/feed.xml"):
            parts = urlsplit(site["page"])
            answer = visitor.get(f"http://127.0.0.1:{parts.port}/{path}", headers={"Host": parts.hostname})
            assert answer.status_code == 200, site["page"] + path
            names = {
                element.tag.strip("{").split("}")[0]
                for element in ElementTree.fromstring(answer.content).iter()
            }
            assert names <= languages, site["page"] + path


def test_nothing_runs_as_visitors_see_it_under_a_real_mouse_and_keyboard(sites, watched):
    tabs = watched(tabs=1)

    for site in sites[1][:: 1 if SOAK else 24]:
        page = tabs.open(site["page"])
        page.evaluate(TOUCH)
        assert tabs.found == [], site["page"]
        page.locator(".block-faq summary").first.click()
        page.locator(".prose a:visible, h3 a:visible").first.hover()
        page.mouse.down()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        for path in ("nowhere", "blog", "blog/tag/word%200", "blog/feed.xml", "favicon.svg"):
            tabs.open(site["page"] + path).evaluate(TOUCH)

    assert tabs.close() == []


PLACES = [
    "<p>{}</p>",
    '<p title="{}">x</p>',
    "<p title='{}'>x</p>",
    '<a href="{}">x</a>',
    "<title>{}</title>",
    "<style>{}</style>",
    "<textarea>{}</textarea>",
    '<p style="{}">x</p>',
    "<p title={}>x</p>",
    "<script>var x = '{}'</script>",
    '<script>var x = "{}"</script>',
    "<script>var x = `{}`</script>",
]


def test_the_cases_do_run_where_nobody_is_careful(watched):
    """The trap itself: unescaped, most cases are caught, so the tests above would see them."""
    tabs = watched(tabs=1)
    found = set()
    tried = dict(enumerate(CASES, 1)) if SOAK else dict(list(enumerate(CASES, 1))[::8])
    shown = []
    tabs.context.route(
        "http://trap.localhost:9/**", lambda route: route.fulfill(body=shown[-1], content_type="text/html")
    )

    for place in PLACES:
        missing = [case for number, case in tried.items() if number not in found and is_storable(case)]
        for start in range(0, len(missing), 40):
            frames = [place.format(case) for case in missing[start : start + 40]]
            shown.append("".join(f'<iframe srcdoc="{escape(frame)}"></iframe>' for frame in frames))
            page = tabs.open("http://trap.localhost:9/")
            page.wait_for_load_state("load")
            page.evaluate(
                f"for (const frame of [...Array(frames.length).keys()].map(number => frames[number])) try {{ ({TOUCH})(frame) }} catch {{}}"
            )
            page.wait_for_timeout(100)
        found |= {
            int(number) for text in tabs.found for number in re.findall(r"(?:ran |evil\.example/)(\d+)", text)
        }

    assert len(found) > 0.6 * len(tried)


ROWS = """
import json, os
from accounts.models import User
from core import tenancy
from sites.models import Site
names = json.loads(os.environ["NAMES"])
users = User.objects.bulk_create([User(email=f"{number}@names.example", name=name) for number, name in enumerate(names)])
with tenancy.context(tenancy.SYSTEM):
    Site.objects.bulk_create([Site(owner=user, name=user.name, subdomain=f"named-{number}") for number, user in enumerate(users)])
"""


@pytest.fixture(scope="module")
def names(stack):
    """A person and a site for each case, with the case for a name."""
    fitting = [case for case in STORABLE if len(case) <= 120]
    stack.manage("shell", "--no-imports", "-c", ROWS, NAMES=json.dumps(fitting))
    return fitting


@pytest.fixture
def staff(stack, watched):
    """The tab of somebody who administers."""
    email = f"{os.urandom(6).hex()}@example.com"
    stack.manage("create_admin", email, ADMIN_PASSWORD=PASSWORD)
    tabs = watched(tabs=1)
    page = tabs.open(f"{stack.webs[0].url}/admin/login/?next=/admin/")
    page.fill("input[name=username]", email)
    page.fill("input[name=password]", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_load_state()
    return tabs


def test_a_name_is_text_wherever_staff_meet_it(stack, staff, names):
    def checked(address):
        page = staff.open(address)
        assert page.evaluate(ADMIN_LOOK) == [], address
        page.evaluate(TOUCH)
        return page

    for model in ("accounts/user", "sites/site"):
        shown = set()
        opened = []
        for number in range(1, len(names) // 100 + 2):
            page = checked(f"{stack.webs[0].url}/admin/{model}/?p={number}&q=name")
            shown |= set(page.locator("#result_list .field-name").all_text_contents())
            opened += page.locator("#result_list th a").evaluate_all("links => links.map(link => link.href)")
        assert {plain(name) for name in names} <= {plain(name) for name in shown}
        for address in opened[:: 10 if SOAK else 100]:
            checked(address)
        checked(opened[0].replace("/change/", "/history/"))
    for case in names[:: 10 if SOAK else 150]:
        checked(f"{stack.webs[0].url}/admin/sites/site/?{urlencode({'q': case})}")
    for model in ("sites/release", "sites/revision", "audit/entry", "accounts/session"):
        checked(f"{stack.webs[0].url}/admin/{model}/")

    assert staff.close() == []


def test_a_name_is_text_in_what_a_button_says(stack, staff, names):
    page = staff.open(f"{stack.webs[0].url}/admin/sites/site/?q=named-")
    page.check("#action-toggle")
    page.select_option("select[name=action]", "publish")
    page.click("button[name=index]")
    page.wait_for_load_state()

    assert page.locator(".messagelist li").count() > 90
    assert page.evaluate(ADMIN_LOOK) == []
    page.evaluate(TOUCH)
    assert staff.close() == []


def plain(text):
    """As it looks: a browser reads some control characters as others, and spaces as one."""
    return " ".join(text.replace("\r", " ").split())
