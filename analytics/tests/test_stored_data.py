"""Of whoever visits, no address and no agent is anywhere on the server: not in tables, files of the database,
Redis, logs or metrics.
"""

import ipaddress
import json
import secrets
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.stack import eventually
from vault.tests.test_canary import everything

pytestmark = pytest.mark.stack
DRAIN = "from analytics import maintenance, tasks; from django.utils import timezone; tasks.write_events(); tasks.rebuild_dirty_days(); maintenance.run_maintenance(now=timezone.now())"
EVENTS = "from django.db import connection as c\ncursor = c.cursor()\ncursor.execute('SELECT count(*) FROM analytics_event')\nprint(cursor.fetchone()[0])"
# Sorted so that a search among them tells at once which one was found.
AGENT = "Mozilla/5.0 (X11; Linux x86_64; {}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"


def needles_of(address, agent):
    """An address as text and as bytes, and what only this agent says."""
    packed = ipaddress.ip_address(address).packed
    own = agent[agent.index("canary") : agent.index(")")]
    as_bytes = [packed, packed.hex().encode()] if len(packed) == 16 else []  # four bytes are found anywhere
    return [address.encode(), own.encode(), own.encode().hex().encode(), *as_bytes]


def test_no_address_and_no_agent_is_anywhere(person, stack, tmp_path):
    site, host = person.publish()
    page = f"/control-{secrets.token_hex(8)}"
    visitors = [
        (f"203.0.113.{100 + secrets.randbelow(150)}", AGENT.format(f"canary-{secrets.token_hex(12)}")),
        (
            f"2001:db8::{secrets.token_hex(2)}:{secrets.token_hex(2)}",
            AGENT.format(f"canary-{secrets.token_hex(12)}"),
        ),
        (f"198.51.100.{100 + secrets.randbelow(150)}", AGENT.format(f"canary-{secrets.token_hex(12)}")),
    ]
    visitors = [(str(ipaddress.ip_address(address)), agent) for address, agent in visitors]
    web = stack.start_web(workers=1, LOG_LEVEL="DEBUG", TRUSTED_PROXY_COUNT="1")
    try:
        for address, agent in visitors[:2]:
            headers = {
                "Host": host,
                "X-Forwarded-For": address,
                "User-Agent": agent,
                "Content-Type": "text/plain",
            }
            for body in (
                {"n": "pageview", "u": f"http://{host}{page}"},
                {"n": "Order", "u": f"http://{host}{page}"},
                "nonsense",
            ):
                answer = httpx.post(f"{web.url}/_/event", content=json.dumps(body), headers=headers)
                assert answer.status_code == 202
            httpx.get(f"{web.url}/_/event", headers={**headers, "Referer": f"http://{host}{page}"})
            httpx.get(f"{web.url}/", headers=headers)
        address, agent = visitors[2]
        sent = [{"name": "pageview", "url": f"http://{host}{page}", "address": address, "user_agent": agent}]
        assert person.call("POST", f"sites/{site}/events", sent).json()["accepted"] == 1
        log = tmp_path / "access.log"
        yesterday = datetime.now(UTC) - timedelta(days=1)
        log.write_text(
            f'{address} - - [{yesterday:%d/%b/%Y:%H:%M:%S +0000}] "GET {page} HTTP/1.1" 200 5 "-" "{agent}"\n'
        )
        told = stack.manage("analytics_import", host.partition(".")[0], str(log), "--from", "log")
        assert "1 events added" in told
        waiting = everything(stack, web)["redis"]
        stack.manage("shell", "-c", DRAIN)
        assert eventually(lambda: int(stack.manage("shell", "-c", EVENTS).split()[-1]) >= 6, seconds=30)
        places = {**everything(stack, web), "streams": waiting}
    finally:
        web.process.terminate()
        web.process.wait(40)

    for name in ("tables", "files", "streams"):
        assert page.encode() in places[name], (
            f"{name} does not have what it should: the search looks in the wrong place"
        )
    needles = [needle for address, agent in visitors for needle in needles_of(address, agent)]
    assert len(needles) == 3 * 3 + 2
    for name, content in places.items():
        assert (name, [needle for needle in needles if needle in content]) == (name, [])
