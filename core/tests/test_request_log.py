import json

import pytest
from django.test import Client

CANARY = "hunter2-canary"


def finished_requests(log_lines):
    return [line for line in log_lines() if line["event"] == "request_finished"]


@pytest.mark.django_db
def test_request_log_middleware_logs_one_line_with_the_request_id_and_no_secret(log_lines):
    response = Client().post(
        "/api/v1/auth/login",
        {"email": f"{CANARY}@example.com", "password": CANARY},
        content_type="application/json",
        headers={"X-Request-ID": "my-request-1", "Authorization": f"Bearer {CANARY}"},
    )

    (line,) = finished_requests(log_lines)
    assert (response["X-Request-ID"], line["request_id"], line["route"], line["status"], line["user"]) == (
        "my-request-1",
        "my-request-1",
        "api/v1/auth/login",
        401,
        None,
    )
    assert CANARY not in json.dumps(log_lines())


@pytest.mark.django_db
def test_request_log_middleware_logs_the_user_and_marks_cached_responses(api, log_lines):
    # The first request fills the empty Redis with tombstones, the second one stores the response.
    for _ in range(3):
        api.get("sites")

    assert [(line["route"], line["user"]) for line in finished_requests(log_lines)] == [
        ("api/v1/sites", str(api.user.pk)),
        ("api/v1/sites", str(api.user.pk)),
        ("kept", str(api.user.pk)),
    ]


@pytest.mark.parametrize("request_id", ["", "short", "x" * 65, "a b c d e f", "evil\r\nX: y", "<script>xx"])
def test_request_log_middleware_replaces_an_invalid_request_id(request_id):
    response = Client().get("/health", headers={"X-Request-ID": request_id})

    assert response["X-Request-ID"] != request_id
    assert len(response["X-Request-ID"]) == 32
