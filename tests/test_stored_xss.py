"""Text that customers store never runs as a script on published pages, in Chromium.

The pages are opened with their policy, and with the policy in report-only mode. The cases are those of
`sites/tests/scripts.txt`. A new place that customers write to must be added to `SURFACES`.
"""

import os
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from html import escape
from itertools import cycle
from urllib.parse import urlsplit
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
from tests.page_monitor import INSPECT_SITE_PAGE, TRIGGER_ALL_EVENTS
from tests.stack import RegisteredUser

pytestmark = pytest.mark.stack
STORABLE_CASES = [case for case in CASES if is_storable(case)]
SOAK = bool(os.environ.get("SOAK"))
MAX_CASES_PER_SITE = 8
MAX_TITLE_CHARACTERS = 200
MAX_NAME_CHARACTERS = 120
MAX_TAG_CHARACTERS = 40
PROBED_LENGTHS = [20, 40, 60, 120, 200, 320, 2_000]
HARMLESS_ADDRESS = "https://example.com"


# Storing the cases. A "place" is the path of a string in a blueprint; its "kind" ignores positions in lists.


@cache
def length_limits():
    """For each place of free text: the largest of `PROBED_LENGTHS` that it accepts."""
    limits = {}
    for length in PROBED_LENGTHS:
        _, refused = validate_with_text(harmless_document(), text_and_url_paths()[0], "x" * length)
        limits |= dict.fromkeys(text_and_url_paths()[0] - refused.keys(), length)
    return limits


def case_groups():
    """The cases in groups of one site each. All cases of a group together fit into the title of the site."""
    groups = [[]]
    for case in STORABLE_CASES:
        is_full = len(groups[-1]) == MAX_CASES_PER_SITE
        if is_full or len(" ".join([*groups[-1], case])) > MAX_TITLE_CHARACTERS:
            groups.append([])
        groups[-1].append(case)
    return groups


def texts_by_place(cases):
    """For each place: all cases if they fit, otherwise the next one that does, so that each has its turn."""
    turns = defaultdict(lambda: cycle(cases))
    for place, limit in sorted(length_limits().items(), key=lambda item: json_pointer(item[0])):
        all_cases = " ".join(cases)
        candidates = [next(turns[without_indexes(place)]) for _ in cases]
        next(turns[without_indexes(place)])
        fitting_case = next((case for case in candidates if len(case) <= limit), "word")
        yield place, all_cases if len(all_cases) <= limit else fitting_case


def set_text(document, place, text):
    value_at(document, place[:-1])[place[-1]] = text


def blueprint_with_cases(cases, addresses):
    """A page with every block type. The cases are in every text, each once more as rich text of its own."""
    document = with_text_at(harmless_document(), [], "")
    for place, text in texts_by_place(cases):
        set_text(document, place, text)
    padded_cases = [*cases, *["word"] * MAX_CASES_PER_SITE][:MAX_CASES_PER_SITE]
    document["pages"][0]["blocks"] += [
        {"id": f"alone-{number}", "type": "text", "props": {"html": html}}
        for number, html in enumerate(padded_cases)
    ]
    for place, case in addresses.values():
        set_text(document, place, case)
    return document


def store_in_blueprint(owner, site_id, cases):
    """Publish a blueprint with the cases in every text and address. Refused addresses are replaced."""
    places = sorted(text_and_url_paths()[1], key=json_pointer)
    addresses = {json_pointer(place): (place, case) for place, case in zip(places, cycle(cases))}
    document = blueprint_with_cases(cases, addresses)

    response = owner.call("PUT", f"sites/{site_id}/blueprint", document, **{"If-Match": '"1"'})
    if response.status_code != 200:
        refused = {error["pointer"]: error["code"] for error in response.json()["errors"]}
        assert (response.status_code, set(refused.values())) == (400, {"value_error"})
        assert refused.keys() <= addresses.keys()
        for place, _ in map(addresses.pop, refused):
            set_text(document, place, HARMLESS_ADDRESS)
        response = owner.call("PUT", f"sites/{site_id}/blueprint", document, **{"If-Match": '"1"'})
    assert response.status_code == 200, response.text
    assert not [case for _, case in addresses.values() if can_run_script(case) or case.startswith("//")]
    assert owner.call("POST", f"sites/{site_id}/publish").status_code == 201
    return {"page": "/"}


def store_in_post(owner, site_id, cases):
    """Publish a post with the cases as title, excerpt, tags and text. Its author's name is a case too."""
    control_or_slash = re.compile(r"[\x00-\x1f\x7f/\\]")
    tags = [
        case.strip()
        for case in cases
        if len(case) <= MAX_TAG_CHARACTERS and not control_or_slash.search(case)
    ]
    post = {
        "title": " ".join(cases),
        "excerpt": "\n".join(cases),
        "tags": [*tags, *(f"word {number}" for number in range(MAX_CASES_PER_SITE))][:MAX_CASES_PER_SITE],
        "blocks": [{"id": "text", "type": "text", "props": {"html": "".join(cases)}}],
        "published_at": "2024-01-01T00:00:00Z",
    }
    response = owner.call("POST", f"sites/{site_id}/posts", post)
    assert response.status_code == 201, response.text
    return {"post": f"/blog/{response.json()['slug']}"}


# Where customers write what visitors see. Each function stores `cases` in every string it has, and returns
# the paths that show them, by the kind of page. The cases do not change the elements of a page.
SURFACES = [store_in_blueprint, store_in_post]


def create_site(owner, cases):
    """Publish a site with `cases` everywhere; return the addresses of its pages by kind."""
    fitting_names = (
        case for case in cases if len(case) <= MAX_NAME_CHARACTERS and VISIBLE_CHARACTERS.match(case.strip())
    )
    name = next(fitting_names, "word")
    assert owner.call("PATCH", "auth/me", {"name": name}, **{"If-Match": "*"}).status_code == 200
    response = owner.call("POST", "sites", {"name": name, "subdomain": f"s{os.urandom(6).hex()}"})
    assert response.status_code == 201, response.text
    site = response.json()
    base = f"http://{site['subdomain']}.localhost:{owner.web.port}"
    return {kind: base + path for store in SURFACES for kind, path in store(owner, site["id"], cases).items()}


@pytest.fixture(scope="module")
def owners(stack):
    users = [RegisteredUser(web) for web in stack.webs]
    yield users
    for user in users:
        user.browser.close()


@pytest.fixture(scope="module")
def harmless_site(owners):
    """The addresses of a site without any script."""
    return create_site(owners[0], ["word"])


@pytest.fixture(scope="module")
def hostile_sites(owners, harmless_site):
    """The addresses of the sites that hold all cases. The owners create them in parallel."""
    groups = case_groups()

    def create_share(number):
        return [create_site(owners[number], cases) for cases in groups[number :: len(owners)]]

    with ThreadPoolExecutor(len(owners)) as pool:
        return [site for share in pool.map(create_share, range(len(owners))) for site in share]


@pytest.fixture
def visitor():
    with httpx.Client(headers={"Accept-Encoding": "identity"}) as client:
        yield client


# The tests.


def test_texts_by_place_puts_each_case_into_each_kind_of_place():
    stored_cases = defaultdict(set)
    for cases in case_groups():
        for place, text in texts_by_place(cases):
            stored_cases[without_indexes(place)] |= {case for case in cases if case in text}

    limit_by_kind = {without_indexes(place): limit for place, limit in length_limits().items()}
    for kind, cases in sorted(stored_cases.items()):
        limit = limit_by_kind[kind]
        if limit >= 200 or kind[-2:] in {("navigation", "label"), ("actions", "label")}:
            assert cases >= {case for case in STORABLE_CASES if len(case) <= limit}, kind


def test_put_blueprint_refuses_text_that_cannot_be_stored(person):
    body = {"name": "Scripts", "subdomain": f"s{os.urandom(6).hex()}"}
    site = person.call("POST", "sites", body).json()

    for case in set(CASES) - set(STORABLE_CASES):
        document = {"settings": {"title": case}, "pages": []}
        response = person.call("PUT", f"sites/{site['id']}/blueprint", document, **{"If-Match": '"1"'})
        assert response.status_code == 400, case


def report_only_page(visitor, address):
    """The response for a page of the host in the query of `address`, adapted to the host of `address`.

    One host for all pages lets the browser load each picture once. The policy only reports, so that what it
    would stop runs and is recorded.
    """
    parts = urlsplit(address)
    real_host = parts.query or parts.netloc
    port = real_host.partition(":")[2]
    response = visitor.get(f"http://127.0.0.1:{port}{parts.path}", headers={"Host": real_host})
    headers = {
        "Content-Type": response.headers["Content-Type"],
        "Content-Security-Policy-Report-Only": response.headers["Content-Security-Policy"],
    }
    return {"body": response.content.replace(real_host.encode(), parts.netloc.encode()), "headers": headers}


def test_published_pages_without_policy_run_no_script_and_have_no_foreign_element(
    harmless_site, hostile_sites, open_monitor, visitor
):
    monitor = open_monitor()
    site_pages = re.compile(r"^http://[^/.]+\.localhost:\d+/(?!_/)")
    monitor.context.route(
        site_pages, lambda route: route.fulfill(**report_only_page(visitor, route.request.url))
    )
    rich_tags = sorted(RICH_TAGS)
    expected = {
        kind: monitor.open(address).evaluate(INSPECT_SITE_PAGE, rich_tags)
        for kind, address in harmless_site.items()
    }
    assert [inspection["wrong"] for inspection in expected.values()] == [[] for _ in expected]

    base = harmless_site["page"].rstrip("/")
    addresses = [
        (kind, f"{base}{urlsplit(address).path}?{urlsplit(address).netloc}")
        for number, site in enumerate(hostile_sites)
        for kind, address in site.items()
        if SOAK or number % 8 == (0 if kind == "page" else 4)
    ]
    for kind, address in addresses:
        page = monitor.open(address)
        inspection = page.evaluate(INSPECT_SITE_PAGE, rich_tags)
        assert (inspection["wrong"], monitor.incidents) == ([], []), address
        assert inspection["tags"] == expected[kind]["tags"], address
        assert inspection["values"] == expected[kind]["values"], address
        assert set(inspection["attributes"]) <= set(expected[kind]["attributes"]), address
        page.evaluate(TRIGGER_ALL_EVENTS)
        assert page.url.partition("#")[0] == address

    assert monitor.close() == []


def test_generated_xml_is_well_formed_and_has_only_expected_namespaces(hostile_sites, visitor):
    namespaces = {
        "http://www.sitemaps.org/schemas/sitemap/0.9",
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/2005/Atom",
    }
    for site in hostile_sites:
        parts = urlsplit(site["page"])
        for path in ("sitemap.xml", "favicon.svg", "blog/feed.xml"):
            url = f"http://127.0.0.1:{parts.port}/{path}"
            response = visitor.get(url, headers={"Host": parts.hostname})
            assert response.status_code == 200, site["page"] + path
            elements = ElementTree.fromstring(response.content).iter()
            used_namespaces = {element.tag.strip("{").split("}")[0] for element in elements}
            assert used_namespaces <= namespaces, site["page"] + path


def test_published_pages_run_no_script_under_mouse_and_keyboard(hostile_sites, open_monitor):
    monitor = open_monitor(tabs=1)

    for site in hostile_sites[:: 1 if SOAK else 24]:
        page = monitor.open(site["page"])
        page.evaluate(TRIGGER_ALL_EVENTS)
        assert monitor.incidents == [], site["page"]
        page.locator(".block-faq summary").first.click()
        page.locator(".prose a:visible, h3 a:visible").first.hover()
        page.mouse.down()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        for path in ("nowhere", "blog", "blog/tag/word%200", "blog/feed.xml", "favicon.svg"):
            monitor.open(site["page"] + path).evaluate(TRIGGER_ALL_EVENTS)

    assert monitor.close() == []


UNESCAPED_CONTEXTS = [
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
TRIGGER_EVENTS_IN_FRAMES = f"""
for (const frame of [...Array(frames.length).keys()].map(number => frames[number]))
  try {{ ({TRIGGER_ALL_EVENTS})(frame) }} catch {{}}
"""


def test_page_monitor_detects_most_cases_when_they_are_not_escaped(open_monitor):
    """Tests the tests above: they would see a script that runs."""
    monitor = open_monitor(tabs=1)
    detected = set()
    all_cases = list(enumerate(CASES, 1))
    tried = dict(all_cases if SOAK else all_cases[::16])
    bodies = []
    monitor.context.route(
        "http://trap.localhost:9/**", lambda route: route.fulfill(body=bodies[-1], content_type="text/html")
    )

    for html in UNESCAPED_CONTEXTS:
        missing = [case for number, case in tried.items() if number not in detected and is_storable(case)]
        for start in range(0, len(missing), 40):
            frames = [html.format(case) for case in missing[start : start + 40]]
            bodies.append("".join(f'<iframe srcdoc="{escape(frame)}"></iframe>' for frame in frames))
            page = monitor.open("http://trap.localhost:9/")
            page.wait_for_load_state("load")
            page.evaluate(TRIGGER_EVENTS_IN_FRAMES)
            page.wait_for_timeout(100)  # milliseconds
        numbers = re.compile(r"(?:ran |evil\.example/)(\d+)")
        detected |= {int(number) for text in monitor.incidents for number in numbers.findall(text)}

    assert len(detected) > 0.6 * len(tried)
