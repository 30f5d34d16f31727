"""Members: what each role may do, invitations, removal, and the handing over of a site."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from accounts.models import Session
from accounts.tests.calls import link_token, mails_to
from accounts.tests.factories import UserFactory
from conftest import sign_in
from core import tenancy
from sites.models import Access, Draft, Invitation, Post, Preview, Schedule, Site
from sites.services import members as rules
from sites.services import sites
from sites.tests.factories import SiteFactory
from tests.operations import OPERATIONS, prepare_operation
from tests.world import new_world

pytestmark = pytest.mark.django_db
OF_A_SITE = [(method, path) for method, path in OPERATIONS if path.startswith("/api/v1/sites/{id}")]
RANKS = ["viewer", "author", "editor", "owner"]
# What looks closer than at the role: covered by tests of its own.
OWN_RULES = {
    ("delete", "/api/v1/sites/{id}/members/{member}"),
    ("delete", "/api/v1/sites/{id}/reviews/{review}"),
    ("patch", "/api/v1/sites/{id}/posts/{post_id}"),
    ("delete", "/api/v1/sites/{id}/posts/{post_id}"),
    ("post", "/api/v1/sites/{id}/posts/{post_id}/restore"),
    ("post", "/api/v1/sites/{id}/posts"),
}


def needed():
    """The least role for each operation, as the views have it."""
    from accounts.management.commands.permission_matrix import operations

    return {(item.method.lower(), item.path): item.site_role for item in operations() if item.site_role}


@pytest.mark.parametrize(("method", "path"), OF_A_SITE, ids=lambda part: part)
def test_each_role_may_do_what_the_matrix_says(method, path, password_hash):
    world = new_world(password_hash, role="user")
    address, body = prepare_operation(method, path, world)
    least = needed()[method, path]
    wrong = {}
    for role in RANKS[: RANKS.index(least)]:
        person = sign_in(UserFactory())
        with tenancy.context(tenancy.SYSTEM):
            Access.objects.create(site=world.site, user=person.user, role=role)
        answer = person.call(method.upper(), address, body, if_match="*")
        if (answer.status_code, answer.json().get("code")) != (403, "site_role_too_low"):
            wrong[role] = answer.status_code

    if (
        least != "owner" and (method, path) not in OWN_RULES
    ):  # the owner's own go is in the matrix of two people
        with tenancy.context(tenancy.SYSTEM):
            Access.objects.filter(site=world.site, user=world.api.user).update(role=least)
        answer = world.api.call(method.upper(), address, body, if_match="*")
        if not 200 <= answer.status_code < 300:
            wrong[least] = (answer.status_code, answer.content[:200])
    assert wrong == {}


def test_the_second_fence_lets_viewers_read_and_write_nothing(team):
    with tenancy.context(tenancy.user_context(team.viewer.user.pk)):
        assert Draft.objects.filter(site=team.site).exists()
        assert Site.objects.filter(pk=team.site.pk).update(name="x") == 0
        assert Draft.objects.filter(site=team.site).update(version=9) == 0
        assert Draft.objects.filter(site=team.site).delete()[0] == 0
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Post.objects.create(site=team.site, title="x", slug="x")
    with tenancy.context(tenancy.user_context(team.author.user.pk)):
        assert Draft.objects.filter(site=team.site).update(version=2) == 1


def test_members_see_who_works_with_them(team):
    listed = team.viewer.get(team.path("members")).json()["results"]

    assert {(row["name"], row["role"]) for row in listed} == {
        ("The owner", "owner"),
        ("The editor", "editor"),
        ("The author", "author"),
        ("The viewer", "viewer"),
    }
    assert {row["role"] for row in team.author.get("sites").json()["results"]} == {"author"}


def invite(team, email, role="editor"):
    return team.owner.post(team.path("invitations"), {"email": email, "role": role})


def accept(person, token):
    return person.post("invitations/accept", {"token": token})


def token_for(address):
    return link_token(mails_to(address)[-1])


def test_an_invitation_is_mailed_opened_and_accepted_once(team, client):
    person = team.stranger
    address = person.user.email

    made = invite(team, address.upper(), role="author")
    text = mails_to(address)[0]
    token = link_token(text)

    assert (made.status_code, made.json()["email"], made.json()["role"]) == (201, address, "author")
    assert token not in made.content.decode()
    assert team.owner.user.email in text
    assert "A site" in text
    opened = client.post("/api/v1/invitations/open", {"token": token}, content_type="application/json").json()
    assert {name: opened[name] for name in ("site", "role", "email", "invited_by")} == {
        "site": "A site",
        "role": "author",
        "email": address,
        "invited_by": team.owner.user.email,
    }
    assert person.get(team.path()).status_code == 404

    joined = accept(person, token)

    assert (joined.status_code, joined.json()) == (
        200,
        {"site": str(team.site.pk), "name": "A site", "role": "author"},
    )
    assert person.get(team.path()).json()["role"] == "author"
    assert [row["id"] for row in person.get("sites").json()["results"]] == [str(team.site.pk)]
    assert (accept(person, token).status_code, accept(team.viewer, token).status_code) == (404, 404)
    assert team.owner.get(team.path("invitations")).json()["results"] == []


def test_an_invitation_is_for_one_address(team):
    invite(team, team.stranger.user.email)
    thief = sign_in(UserFactory())
    token = token_for(team.stranger.user.email)

    refused = accept(thief, token)

    assert (refused.status_code, refused.json()["code"]) == (403, "invitation_for_other")
    assert thief.get(team.path()).status_code == 404
    assert accept(team.stranger, token).status_code == 200


@pytest.mark.parametrize("change", [{"expires_at": timezone.now()}, {"used_at": timezone.now()}])
def test_an_invitation_that_is_over_opens_nothing(team, client, change):
    invite(team, team.stranger.user.email)
    token = token_for(team.stranger.user.email)
    with tenancy.context(tenancy.SYSTEM):
        Invitation.objects.update(**change)

    assert accept(team.stranger, token).json()["code"] == "invitation_refused"
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
def test_a_forged_token_opens_nothing_and_costs_no_query(team, client, change, django_assert_num_queries):
    invite(team, team.stranger.user.email)
    forged = change(token_for(team.stranger.user.email))

    assert client.post(
        "/api/v1/invitations/open", {"token": forged}, content_type="application/json"
    ).status_code in {
        400,
        404,
    }
    assert accept(team.stranger, forged).status_code in {400, 404}
    assert team.stranger.get(team.path()).status_code == 404


def test_a_new_invitation_of_the_same_address_ends_the_one_before(team):
    address = team.stranger.user.email
    invite(team, address, role="viewer")
    old = token_for(address)
    invite(team, address, role="editor")

    assert accept(team.stranger, old).status_code == 404
    assert accept(team.stranger, token_for(address)).json()["role"] == "editor"


def test_a_withdrawn_invitation_and_one_to_a_deleted_site_are_over(team):
    address = team.stranger.user.email
    made = invite(team, address).json()["id"]
    token = token_for(address)
    assert team.owner.delete(team.path(f"invitations/{made}")).status_code == 204
    assert accept(team.stranger, token).status_code == 404
    assert team.owner.delete(team.path(f"invitations/{made}")).status_code == 404

    invite(team, address)
    token = token_for(address)
    team.owner.delete(team.path(), if_match="*")
    assert accept(team.stranger, token).status_code == 404


@pytest.mark.commits
def test_one_token_used_by_many_tabs_at_once_makes_one_member(team):
    invite(team, team.stranger.user.email)
    token = token_for(team.stranger.user.email)

    def use(_):
        try:
            return accept(team.stranger, token).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(use, range(6))) == [200] + [404] * 5
    assert Access.objects.filter(site=team.site, user=team.stranger.user).count() == 1


def test_who_is_a_member_is_not_invited_and_a_role_is_one_of_three(team):
    assert invite(team, team.viewer.user.email).json()["code"] == "already_member"
    assert invite(team, "x@example.com", role="owner").status_code == 400
    assert invite(team, "not an address").status_code == 400
    assert team.owner.patch(team.path(f"members/{team.editor.user.pk}"), {"role": "owner"}).status_code == 400


def test_invitations_are_bounded_for_each_person_and_each_mailbox(team, monkeypatch):
    for _ in range(5):
        assert invite(team, "often@example.com").status_code == 201
    assert invite(team, "often@example.com").json()["code"] == "invited_often"
    assert mails_to("often@example.com")[4:], "five mails"
    monkeypatch.setattr(rules, "INVITATIONS_A_DAY", 6)
    assert invite(team, "one@example.com").status_code == 201
    assert invite(team, "two@example.com").status_code == 429
    monkeypatch.setattr(rules, "MAX_MEMBERS", 6)
    assert invite(team, "three@example.com").json()["code"] == "too_many_members"


def test_a_name_that_looks_like_a_link_does_not_get_into_mails(team):
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.filter(pk=team.site.pk).update(name="Prize! visit evil.example/win")

    invite(team, team.stranger.user.email)

    text = mails_to(team.stranger.user.email)[0]
    assert "evil.example" not in text
    assert team.host in text


def test_a_removed_member_is_out_at_once_with_their_links_and_plans(team):
    editor = team.editor
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    editor.post(team.path("schedules"), {"at": at})
    editor.post(team.path("previews"), {})
    assert editor.get(team.path()).status_code == 200  # and kept by the gate

    assert team.owner.delete(team.path(f"members/{editor.user.pk}")).status_code == 204

    assert (editor.get(team.path()).status_code, editor.get("sites").json()["results"]) == (404, [])
    with tenancy.context(tenancy.SYSTEM):
        assert (Schedule.objects.count(), Preview.objects.count()) == (0, 0)


def test_a_member_who_closes_the_account_leaves_no_link_and_no_plan(team):
    team.editor.post(team.path("schedules"), {"at": (timezone.now() + timedelta(hours=1)).isoformat()})
    team.editor.post(team.path("previews"), {})

    assert team.editor.delete("auth/me", if_match="*").status_code == 204

    with tenancy.context(tenancy.SYSTEM):
        assert (Schedule.objects.count(), Preview.objects.count()) == (0, 0)
    assert {row["role"] for row in team.owner.get(team.path("members")).json()["results"]} == {
        "owner",
        "author",
        "viewer",
    }


def test_somebody_with_less_rights_loses_what_took_more(team):
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    team.editor.post(team.path("schedules"), {"at": at})
    team.editor.post(team.path("previews"), {})

    changed = team.owner.patch(team.path(f"members/{team.editor.user.pk}"), {"role": "author"})

    assert changed.json()["role"] == "author"
    assert team.editor.post(team.path("publish")).status_code == 403
    with tenancy.context(tenancy.SYSTEM):
        assert (Schedule.objects.count(), Preview.objects.count()) == (0, 1)


def test_anybody_may_leave_but_the_owner(team):
    assert team.viewer.delete(team.path(f"members/{team.viewer.user.pk}")).status_code == 204
    assert team.viewer.get(team.path()).status_code == 404
    assert team.editor.delete(team.path(f"members/{team.author.user.pk}")).status_code == 403
    stays = team.owner.delete(team.path(f"members/{team.owner.user.pk}"))
    assert (stays.status_code, stays.json()["code"]) == (409, "owner_stays")
    demoted = team.owner.patch(team.path(f"members/{team.owner.user.pk}"), {"role": "viewer"})
    assert demoted.json()["code"] == "owner_stays"
    assert team.owner.delete(team.path(f"members/{team.stranger.user.pk}")).status_code == 404


def test_a_site_is_handed_over_to_a_member_who_then_owns_it_alone(team):
    answer = team.owner.post(team.path("transfer"), {"member": str(team.viewer.user.pk)})

    assert (answer.status_code, answer.json()["role"]) == (200, "editor")
    assert team.viewer.get(team.path()).json()["role"] == "owner"
    assert team.owner.delete(team.path(), if_match="*").status_code == 403
    assert "You handed a website over" in mails_to(team.owner.user.email)[-1]
    assert "A website is yours now" in mails_to(team.viewer.user.email)[-1]
    assert team.owner.delete("auth/me", if_match="*").status_code == 204
    assert team.viewer.get(team.path()).status_code == 200  # it is not theirs any more, so it stays
    assert team.viewer.delete(team.path(), if_match="*").status_code == 204


def test_a_site_is_handed_over_only_with_a_recent_proof_and_to_a_member(team):
    for nobody in (team.stranger.user.pk, team.owner.user.pk):
        assert team.owner.post(team.path("transfer"), {"member": str(nobody)}).json()["code"] == "not_member"
    Session.objects.filter(pk=team.owner.session.pk).update(proved_at=timezone.now() - timedelta(hours=1))
    refused = team.owner.post(team.path("transfer"), {"member": str(team.editor.user.pk)})
    assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")


def test_nobody_gets_more_sites_than_one_may_own_by_being_given_them(team, monkeypatch):
    monkeypatch.setattr(sites, "MAX_SITES", 1)
    SiteFactory(owner=team.viewer.user)

    assert (
        team.owner.post(team.path("transfer"), {"member": str(team.viewer.user.pk)}).json()["code"]
        == "too_many_sites"
    )


@pytest.mark.commits
def test_two_transfers_at_once_leave_one_owner(team):
    def give(member):
        try:
            return team.owner.post(team.path("transfer"), {"member": str(member.user.pk)}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        codes = sorted(pool.map(give, [team.editor, team.viewer]))

    assert codes[0] == 200
    assert codes[1] in {403, 404}
    assert Access.objects.filter(site=team.site, role="owner").count() == 1
    with tenancy.context(tenancy.SYSTEM):
        assert (
            Site.objects.get(pk=team.site.pk).owner_id
            == Access.objects.get(site=team.site, role="owner").user_id
        )


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.commits
def test_the_list_of_members_costs_the_same_for_any_number(rows, team, django_assert_num_queries):
    Access.objects.filter(site=team.site).exclude(role="owner").delete()
    for _ in range(rows):
        Access.objects.create(site=team.site, user=UserFactory(), role="viewer")
    team.owner.get("auth/me")

    with django_assert_num_queries(5):  # begin, context, site, members, commit
        assert len(team.owner.get(team.path("members")).json()["results"]) == rows + 1
