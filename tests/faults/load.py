"""A load on a platform that remembers what was acknowledged, and checks afterwards that it is there, once."""

import json
import secrets
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from sites.tests.factories import document, page
from tests.faults.platform import Platform
from tests.stack import RegisteredUser, wait_until

REFUSALS = {429, 503}  # answers that tell a client to come back
BROWSER = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)


@dataclass
class Answers:
    """The answers to one kind of request: how many by status, and how long each took in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def slowest(self) -> float:
        return max(self.seconds, default=0.0)

    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else 0.0


class Load:
    """Writes posts, sends events, publishes, and reads the page of another site, each in a thread of its own.

    A request that is refused or breaks is repeated, as a client of the API does: a post with the same
    Idempotency-Key, an event with the same id.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.person = RegisteredUser(platform.web)
        self.site_id, self.host = self.person.publish()
        _, self.calm_host = self.person.publish()  # its page stays in the memory of the web processes
        self.number = int(platform.query("SELECT number FROM sites_site WHERE id = %s", self.site_id)[0][0])
        self.answers = {name: Answers() for name in ("post", "event", "page", "publish")}
        self.acknowledged: dict[str, set[str]] = {"post": set(), "event": set()}
        self.attempted: dict[str, set[str]] = {"post": set(), "event": set()}
        self.titles: list[str] = []  # of publishes that were attempted; the last acknowledged one is `title`
        self.title = ""
        self._stopping = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send the load while the block runs."""
        threads = [
            threading.Thread(target=self._repeat, args=(action, pause))
            for action, pause in (
                (self._write_post, 0.05),
                (self._send_event, 0.0),
                (self._send_event, 0.0),
                (self._read_page, 0.02),
                (self._publish, 0.5),
            )
        ]
        self._stopping.clear()
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()
            self.person.browser.close()

    def _repeat(self, action: Callable[[httpx.Client], None], pause: float) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._stopping.wait(pause):
                action(client)

    def _request(self, kind: str, client: httpx.Client, method: str, path: str, **options: object) -> int:
        """Send a request, and return its status; 0 when the connection broke."""
        started = time.monotonic()
        try:
            status = client.request(method, f"{self.platform.web.url}{path}", **options).status_code  # type: ignore[arg-type]
        except httpx.HTTPError:
            status = 0
        self.answers[kind].seconds.append(time.monotonic() - started)
        self.answers[kind].statuses[status] += 1
        return status

    def _write_post(self, client: httpx.Client) -> None:
        slug = f"p-{secrets.token_hex(6)}"
        self.attempted["post"].add(slug)
        headers = {
            "Host": "localhost",
            "Authorization": f"Bearer {self.person.access}",
            "Idempotency-Key": secrets.token_hex(16),
        }
        body = {"slug": slug, "title": "A post"}
        for _ in range(60):
            status = self._request(
                "post", client, "POST", f"/api/v1/sites/{self.site_id}/posts", json=body, headers=headers
            )
            if status == 201:
                self.acknowledged["post"].add(slug)
                return
            if self._stopping.wait(0.2):
                return

    def _send_event(self, client: httpx.Client) -> None:
        event_id = secrets.token_hex(8)
        self.attempted["event"].add(event_id)
        event = {"n": "Load", "u": f"http://{self.host}/", "i": event_id}
        headers = {"Host": self.host, "User-Agent": BROWSER, "Content-Type": "text/plain"}
        content = json.dumps(event).encode()
        if self._request("event", client, "POST", "/_/event", content=content, headers=headers) == 202:
            self.acknowledged["event"].add(event_id)

    def _read_page(self, client: httpx.Client) -> None:
        self._request("page", client, "GET", "/", headers={"Host": self.calm_host})

    def _publish(self, client: httpx.Client) -> None:
        headers = {"Host": "localhost", "Authorization": f"Bearer {self.person.access}"}
        any_version = {**headers, "If-Match": "*"}
        title = f"Title {len(self.titles)}"
        path = f"/api/v1/sites/{self.site_id}"
        blueprint = document(page("/"), settings={"title": title})
        saved = self._request(
            "publish",
            client,
            "PUT",
            f"{path}/blueprint",
            json=blueprint,
            headers=any_version,
        )
        if saved != 200:
            return
        self.titles.append(title)
        if self._request("publish", client, "POST", f"{path}/publish", headers=headers) == 201:
            self.title = title

    def check(self) -> dict[str, float]:
        """Check everything that was acknowledged, and return figures of this load.

        Waits for the writer of events.
        """
        statuses = {name: set(answers.statuses) for name, answers in self.answers.items()}
        assert statuses["post"] <= {201, 0} | REFUSALS, self.answers["post"].statuses
        assert statuses["event"] <= {202, 0} | REFUSALS, self.answers["event"].statuses
        assert statuses["page"] <= {200, 0} | REFUSALS, self.answers["page"].statuses
        assert statuses["publish"] <= {200, 201, 0} | REFUSALS, self.answers["publish"].statuses

        posts = self.platform.query(
            "SELECT slug, count(*) FROM sites_post WHERE site_id = %s GROUP BY 1", self.site_id
        )
        assert {count for _, count in posts} <= {1}
        stored_posts = {slug for slug, _ in posts}
        assert self.acknowledged["post"] <= stored_posts

        wanted = {int(event_id, 16) >> 1 for event_id in self.acknowledged["event"]}
        possible = {int(event_id, 16) >> 1 for event_id in self.attempted["event"]}
        wait_until(lambda: wanted <= {event_id for event_id, _ in self._stored_events()}, seconds=60)
        time.sleep(3)  # longer than the writer pauses: what would be doubled would be written now
        stored_events = self._stored_events()
        assert {count for _, count in stored_events} <= {1}
        assert {event_id for event_id, _ in stored_events} <= possible

        shown = self.platform.web.get("/", self.host).text
        allowed = (
            [self.title, *self.titles[self.titles.index(self.title) + 1 :]] if self.title else self.titles
        )
        assert any(f"<title>{title}</title>" in shown for title in allowed), allowed
        self.platform.manage("audit_verify")
        return {
            "posts": len(self.acknowledged["post"]),
            "events": len(wanted),
            "refused events": sum(self.answers["event"].statuses[status] for status in REFUSALS | {0}),
            "slowest page": round(self.answers["page"].slowest(), 2),
            "slowest write": round(self.answers["post"].slowest(), 2),
        }

    def _stored_events(self) -> list[tuple[int, int]]:
        """The id of each stored event of the load, and how often it is stored."""
        return [
            (int(event_id), int(count))
            for event_id, count in self.platform.query(
                "SELECT event_id, count(*) FROM analytics_event "
                "WHERE site_number = %s AND kind = 1 GROUP BY 1",
                self.number,
            )
        ]
