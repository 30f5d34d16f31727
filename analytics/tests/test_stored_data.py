"""No IP address and no user agent of a visitor is stored anywhere on the server.

Not in tables, files of the database, Redis, logs or metrics.
"""

import ipaddress
import json
import secrets
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from vault.tests.stored_bytes import collect_stored_bytes, dump_redis

pytestmark = pytest.mark.stack
PROCESS_EVENTS = (
    "from analytics import maintenance, tasks; from django.utils import timezone; "
    "tasks.write_events(); tasks.rebuild_dirty_days(); maintenance.run_maintenance(now=timezone.now())"
)
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64; {}) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36"
)


def count_events(database_url):
    """The number of events of all sites."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET app.context = 'system'")
        return connection.execute("SELECT count(*) FROM analytics_event").fetchone()[0]


def search_terms(address, user_agent):
    """An address as text and as bytes, and the part of a user agent that no other has."""
    packed = ipaddress.ip_address(address).packed
    unique_part = user_agent[user_agent.index("canary") : user_agent.index(")")].encode()
    # The four bytes of an IPv4 address would occur by chance.
    address_bytes = [packed, packed.hex().encode()] if len(packed) == 16 else []
    return [address.encode(), unique_part, unique_part.hex().encode(), *address_bytes]


def test_handle_request_and_analytics_import_store_no_address_and_no_user_agent(person, stack, tmp_path):
    site, host = person.publish()
    page = f"/control-{secrets.token_hex(8)}"
    visitors = [
        (f"203.0.113.{100 + secrets.randbelow(150)}", USER_AGENT.format(f"canary-{secrets.token_hex(12)}")),
        (
            f"2001:db8::{secrets.token_hex(2)}:{secrets.token_hex(2)}",
            USER_AGENT.format(f"canary-{secrets.token_hex(12)}"),
        ),
        (f"198.51.100.{100 + secrets.randbelow(150)}", USER_AGENT.format(f"canary-{secrets.token_hex(12)}")),
    ]
    visitors = [(str(ipaddress.ip_address(address)), user_agent) for address, user_agent in visitors]
    web = stack.start_web(workers=1, LOG_LEVEL="DEBUG", TRUSTED_PROXY_COUNT="1")
    try:
        for address, user_agent in visitors[:2]:
            headers = {
                "Host": host,
                "X-Forwarded-For": address,
                "User-Agent": user_agent,
                "Content-Type": "text/plain",
            }
            for body in (
                {"n": "pageview", "u": f"http://{host}{page}"},
                {"n": "Order", "u": f"http://{host}{page}"},
                "nonsense",
            ):
                response = httpx.post(f"{web.url}/_/event", content=json.dumps(body), headers=headers)
                assert response.status_code == 202
            httpx.get(f"{web.url}/_/event", headers={**headers, "Referer": f"http://{host}{page}"})
            httpx.get(f"{web.url}/", headers=headers)
        address, user_agent = visitors[2]
        events = [
            {"name": "pageview", "url": f"http://{host}{page}", "address": address, "user_agent": user_agent}
        ]
        assert person.call("POST", f"sites/{site}/events", events).json()["accepted"] == 1
        log = tmp_path / "access.log"
        yesterday = datetime.now(UTC) - timedelta(days=1)
        log.write_text(
            f"{address} - - [{yesterday:%d/%b/%Y:%H:%M:%S +0000}] "
            f'"GET {page} HTTP/1.1" 200 5 "-" "{user_agent}"\n'
        )
        output = stack.manage("analytics_import", host.partition(".")[0], str(log), "--from", "log")
        assert "1 events added" in output
        redis_before = dump_redis(stack.redis_url)
        stack.manage("shell", "-c", PROCESS_EVENTS)
        assert count_events(stack.database_url) >= 6
        contents = {**collect_stored_bytes(stack, web), "streams": redis_before}
    finally:
        web.process.terminate()
        web.process.wait(40)

    for name in ("tables", "files", "streams"):
        assert page.encode() in contents[name], (
            f"{name} does not contain the page, so the search looks in the wrong place"
        )
    terms = [term for address, user_agent in visitors for term in search_terms(address, user_agent)]
    assert len(terms) == 3 * 3 + 2
    for name, content in contents.items():
        assert (name, [term for term in terms if term in content]) == (name, [])
