"""Invitations of members: mailed, opened, accepted, withdrawn and limited."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.utils import timezone

from accounts.tests.calls import link_token, mails_to
from accounts.tests.factories import UserFactory
from conftest import sign_in
from core import tenancy
from sites.models import Access, Invitation, Site
from sites.services import members as members_services
from sites.services.members import INVITATION_LIMIT_PER_DAY
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db


def invite_member(team, email, role="editor"):
    return team.owner.post(team.path("invitations"), {"email": email, "role": role})


def accept_invitation(user, token):
    return user.post("invitations/accept", {"token": token})


def mailed_token(address):
    return link_token(mails_to(address)[-1])


def test_accept_invitation_works_once_with_the_mailed_token(team, client):
    guest = team.stranger
    address = guest.user.email

    created = invite_member(team, address.upper(), role="author")
    text = mails_to(address)[0]
    token = link_token(text)

    assert (created.status_code, created.json()["email"], created.json()["role"]) == (201, address, "author")
    assert token not in created.content.decode()
    assert team.owner.user.email in text
    assert "A site" in text
    opened = client.post("/api/v1/invitations/open", {"token": token}, content_type="application/json").json()
    assert {name: opened[name] for name in ("site", "role", "email", "invited_by")} == {
        "site": "A site",
        "role": "author",
        "email": address,
        "invited_by": team.owner.user.email,
    }
    assert guest.get(team.path()).status_code == 404

    joined = accept_invitation(guest, token)

    assert (joined.status_code, joined.json()) == (
        200,
        {"site": str(team.site.pk), "name": "A site", "role": "author"},
    )
    assert guest.get(team.path()).json()["role"] == "author"
    assert [row["id"] for row in guest.get("sites").json()["results"]] == [str(team.site.pk)]
    assert (
        accept_invitation(guest, token).status_code,
        accept_invitation(team.viewer, token).status_code,
    ) == (404, 404)
    assert team.owner.get(team.path("invitations")).json()["results"] == []


def test_accept_invitation_refuses_another_address(team):
    invite_member(team, team.stranger.user.email)
    other_user = sign_in(UserFactory())
    token = mailed_token(team.stranger.user.email)

    response = accept_invitation(other_user, token)

    assert (response.status_code, response.json()["code"]) == (403, "invitation_for_other")
    assert other_user.get(team.path()).status_code == 404
    assert accept_invitation(team.stranger, token).status_code == 200


@pytest.mark.parametrize("change", [{"expires_at": timezone.now()}, {"used_at": timezone.now()}])
def test_open_invitation_refuses_expired_and_used_tokens(team, client, change):
    invite_member(team, team.stranger.user.email)
    token = mailed_token(team.stranger.user.email)
    with tenancy.context(tenancy.SYSTEM):
        Invitation.objects.update(**change)

    assert accept_invitation(team.stranger, token).json()["code"] == "invitation_refused"
    assert (
        client.post("/api/v1/invitations/open", {"token": token}, content_type="application/json").status_code
        == 404
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"),
        lambda t: "0" * 32 + t[32:],
        lambda t: t.split(".")[0],
        lambda t: "",
        lambda t: "é.é",
        lambda t: "." + t,
    ],
)
def test_open_invitation_refuses_forged_tokens(team, client, change, django_assert_num_queries):
    invite_member(team, team.stranger.user.email)
    forged = change(mailed_token(team.stranger.user.email))

    assert client.post(
        "/api/v1/invitations/open", {"token": forged}, content_type="application/json"
    ).status_code in {
        400,
        404,
    }
    assert accept_invitation(team.stranger, forged).status_code in {400, 404}
    assert team.stranger.get(team.path()).status_code == 404


def test_invite_member_replaces_the_earlier_invitation(team):
    address = team.stranger.user.email
    invite_member(team, address, role="viewer")
    old_token = mailed_token(address)
    invite_member(team, address, role="editor")

    assert accept_invitation(team.stranger, old_token).status_code == 404
    assert accept_invitation(team.stranger, mailed_token(address)).json()["role"] == "editor"


def test_withdraw_invitation_and_deleting_the_site_end_an_invitation(team):
    address = team.stranger.user.email
    created = invite_member(team, address).json()["id"]
    token = mailed_token(address)
    assert team.owner.delete(team.path(f"invitations/{created}")).status_code == 204
    assert accept_invitation(team.stranger, token).status_code == 404
    assert team.owner.delete(team.path(f"invitations/{created}")).status_code == 404

    invite_member(team, address)
    token = mailed_token(address)
    team.owner.delete(team.path(), if_match="*")
    assert accept_invitation(team.stranger, token).status_code == 404


@pytest.mark.commits
def test_accept_invitation_creates_one_member_for_parallel_requests(team):
    invite_member(team, team.stranger.user.email)
    token = mailed_token(team.stranger.user.email)

    def accept_once(_):
        try:
            return accept_invitation(team.stranger, token).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(accept_once, range(6))) == [200] + [404] * 5
    assert Access.objects.filter(site=team.site, user=team.stranger.user).count() == 1


def test_invite_member_refuses_members_and_unknown_roles(team):
    assert invite_member(team, team.viewer.user.email).json()["code"] == "already_member"
    assert invite_member(team, "x@example.com", role="owner").status_code == 400
    assert invite_member(team, "not an address").status_code == 400
    assert team.owner.patch(team.path(f"members/{team.editor.user.pk}"), {"role": "owner"}).status_code == 400


def test_invite_member_is_limited_by_sender_address_and_site(team, monkeypatch):
    for _ in range(5):
        assert invite_member(team, "often@example.com").status_code == 201
    assert invite_member(team, "often@example.com").json()["code"] == "invited_often"
    assert mails_to("often@example.com")[4:], "five mails"
    monkeypatch.setattr(members_services, "INVITATION_LIMIT_PER_DAY", 6)
    assert invite_member(team, "one@example.com").status_code == 201
    assert invite_member(team, "two@example.com").status_code == 429
    monkeypatch.setattr(members_services, "MAX_MEMBERS", 6)
    assert invite_member(team, "three@example.com").json()["code"] == "too_many_members"


def test_invite_member_does_not_mail_a_site_name_with_a_link(team):
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.filter(pk=team.site.pk).update(name="Prize! visit evil.example/win")

    invite_member(team, team.stranger.user.email)

    text = mails_to(team.stranger.user.email)[0]
    assert "evil.example" not in text
    assert team.host in text


@pytest.mark.parametrize("name", ["evil。com", "a.b", "x@y", "http://x", "Call: 1", "win/now"])
def test_site_name_for_mail_replaces_names_like_links(team, name):
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.filter(pk=team.site.pk).update(name=name)
    team.owner.post(team.path("invitations"), {"email": "guest@example.com", "role": "viewer"})

    text = mails_to("guest@example.com")[0]
    assert name not in text
    assert team.host in text


@pytest.mark.commits
def test_invite_member_limit_holds_for_parallel_requests(team, monkeypatch):
    monkeypatch.setattr(members_services, "INVITATION_LIMIT_PER_DAY", 4)
    assert INVITATION_LIMIT_PER_DAY > 4
    sites = [team.site, SiteFactory(owner=team.owner.user)]

    def send_invitation(number):
        try:
            body = {"email": f"guest{number}@example.com", "role": "viewer"}
            return team.owner.post(f"sites/{sites[number % 2].pk}/invitations", body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(send_invitation, range(12)))
    assert codes == [201] * 4 + [429] * 8
