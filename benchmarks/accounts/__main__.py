"""`python -m benchmarks.accounts`: what a sign-in costs beside the hash, and what a token or a key costs on a
warm request.
"""

import json
import statistics
import sys
import time
from typing import Any

from rich.console import Console

from benchmarks.private import private

SIGN_INS = 40
REQUESTS = 2_000
PRELOGINS = 500
PASSWORD = "correct horse battery staple"


def main() -> int:
    """Print milliseconds; goals: beside the hash a login under 10, a warm token under 1 and without SQL;
    prelogin takes as long for a stranger as for a customer, within a tenth.
    """
    with private("accounts"):
        facts = {**sign_in_cost(), **credential_cost(), **prelogin_cost()}
    facts["good"] = (
        facts["login_beside_hash_ms"] < 10 and facts["token_ms"] < 1 and facts["token_statements"] == 0
    )
    facts["good"] &= 0.9 < facts["prelogin_unknown_to_known"] < 1.1
    Console().print_json(json.dumps(facts))
    return 0 if facts["good"] else 1


def sign_in_cost() -> dict[str, Any]:
    """Median milliseconds of `POST /auth/login` and of the hash inside it, measured in the same requests."""
    import argon2
    from django.test import Client

    from accounts.services.users import register_user
    from core.storage import redis

    register_user(email="bench@example.com", password=PASSWORD)
    genuine = argon2.PasswordHasher.verify
    hashes = []

    def timed(self: Any, *given: Any) -> Any:
        started = time.perf_counter()
        try:
            return genuine(self, *given)
        finally:
            hashes.append(time.perf_counter() - started)

    argon2.PasswordHasher.verify = timed  # type: ignore[method-assign, assignment]
    body = {"email": "bench@example.com", "password": PASSWORD}
    whole = []
    client = Client(headers={"Host": "localhost"})
    for _ in range(SIGN_INS):
        redis.client().delete("limit:net:127.0.0.1")
        started = time.perf_counter()
        answer = client.post("/api/v1/auth/login", body, content_type="application/json")
        whole.append(time.perf_counter() - started)
        assert answer.status_code == 200, answer.content
    argon2.PasswordHasher.verify = genuine  # type: ignore[method-assign]
    beside = [request - hashed for request, hashed in zip(whole, hashes, strict=True)]
    return {
        "login_ms": milliseconds(whole),
        "hash_ms": milliseconds(hashes),
        "login_beside_hash_ms": milliseconds(beside),
    }


def credentials() -> dict[str, dict[str, str]]:
    """Headers of nobody, of somebody signed in, and of a program with a key."""
    from django.utils import timezone

    from accounts.credentials.known_devices import Device
    from accounts.credentials.tokens import make_access_token
    from accounts.models import User
    from accounts.services.api_keys import issue_api_key
    from accounts.services.sessions import open_session
    from audit.actors import SYSTEM

    user = User.objects.get(email="bench@example.com")
    now = timezone.now()
    access, _ = make_access_token(user, open_session(user, device=Device(), now=now))
    _, key = issue_api_key(user.pk, actor=SYSTEM, now=now, label="bench", scopes=["account.read"])
    return {
        "nobody": {},
        "token": {"Authorization": f"Bearer {access}"},
        "key": {"Authorization": f"Bearer {key}"},
    }


def credential_cost() -> dict[str, Any]:
    """Median milliseconds that the gate takes for each of `credentials`, in turn, and how many statements."""
    from django.conf import settings
    from django.db import connection
    from django.test import RequestFactory
    from django.test.utils import CaptureQueriesContext

    from core.admission.middleware import AdmissionMiddleware

    settings.RATE_LIMIT = 1_000_000
    gate = AdmissionMiddleware(lambda request: None)  # type: ignore[arg-type, return-value]
    times: dict[str, list[float]] = {}
    facts: dict[str, Any] = {}
    callers = credentials()

    def admit(name: str) -> float:
        request = RequestFactory().get("/api/v1/auth/me", headers=callers[name])
        started = time.perf_counter()
        gate.admit(request)
        return time.perf_counter() - started

    for name in callers:
        admit(name)  # warm
        with CaptureQueriesContext(connection) as asked:
            admit(name)
        facts[f"{name}_statements"] = len(asked)
    for _ in range(REQUESTS):
        for name in callers:
            times.setdefault(name, []).append(admit(name))
    return facts | {f"{name}_ms": milliseconds(taken) for name, taken in times.items()}


def prelogin_cost() -> dict[str, Any]:
    """Median milliseconds of `POST /auth/prelogin` for addresses with an account and without, asked in turn."""
    from django.test import Client

    from accounts.models import Kdf, User

    people = [User(email=f"known{number}@example.com", password="!") for number in range(PRELOGINS)]
    for number, user in enumerate(people):
        user.kdf = Kdf(600_000, f"salt of {number:08}".encode()) if number % 2 else None
    User.objects.bulk_create(people)
    client = Client(headers={"Host": "localhost"})
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(PRELOGINS):
        for kind, taken in times.items():
            body = {"email": f"{kind}{number}@example.com"}
            started = time.perf_counter()
            answer = client.post("/api/v1/auth/prelogin", body, content_type="application/json")
            taken.append(time.perf_counter() - started)
            assert answer.status_code == 200, answer.content
    known, unknown = (milliseconds(taken) for taken in times.values())
    ratio = round(unknown / known, 3)
    return {"prelogin_known_ms": known, "prelogin_unknown_ms": unknown, "prelogin_unknown_to_known": ratio}


def milliseconds(times: list[float]) -> float:
    return round(1000 * statistics.median(times), 3)


if __name__ == "__main__":
    sys.exit(main())
