"""`@action_policy`: an action without one stops the start, and each field is enforced."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from rest_framework.response import Response

from core.admission.admission import AdmissionResult
from core.admission.principals import Principal
from core.admission.rate_limits import RateLimitResult
from core.http.action_policy import ANONYMOUS, SIGNED_IN, action_policy, policy_of
from core.http.viewsets import ApiViewSet
from core.ids import uuid7
from core.permissions import Permission


class UndeclaredViewSet(ApiViewSet):
    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    def retrieve(self, request):
        return Response({})

    def create(self, request):
        return Response({})


class CarelessViewSet(ApiViewSet):
    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    def update(self, request):
        return Response({})


def test_as_view_refuses_an_action_without_a_policy():
    assert callable(UndeclaredViewSet.as_view({"get": "retrieve"}))

    with pytest.raises(ImproperlyConfigured, match=r"UndeclaredViewSet.create has no policy"):
        UndeclaredViewSet.as_view({"get": "retrieve", "post": "create"})


def test_action_policy_has_no_defaults_that_open_an_action():
    with pytest.raises(TypeError, match="missing 4 required keyword-only arguments"):
        action_policy(role=ANONYMOUS)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (ANONYMOUS, (True, None, "")),
        (SIGNED_IN, (False, None, "")),
        ("editor", (False, None, "editor")),
        (Permission("a.b", ""), (False, Permission("a.b", ""), "")),
    ],
)
def test_policy_of_reads_the_role(role, expected):
    class View:
        @action_policy(scope=None, role=role, recent_proof=False, if_match=False, impersonation=False)
        def list(self):
            pass

    policy = policy_of(View, "list")

    assert (policy.is_anonymous, policy.permission, policy.site_role) == expected


def test_dispatch_fails_when_a_handler_does_not_ask_for_the_if_match_of_its_policy(rf):
    request = rf.put("/", {}, content_type="application/json")
    principal = Principal(user_id=uuid7(), session_id=uuid7(), epoch=0, roles=frozenset())
    request.admission = AdmissionResult(principal, RateLimitResult(True, 1, 0.0, 1), "user:1")

    with pytest.raises(RuntimeError, match="update did not ask for If-Match"):
        CarelessViewSet.as_view({"put": "update"})(request)
