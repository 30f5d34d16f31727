"""The shape of sites at the boundary."""

import re
from typing import Any

from rest_framework import serializers

from core.api import StrictSerializer
from sites.models import Access, Invitation, Preview, Release, Review, Revision, Schedule, Site
from sites.services.previews import link_to
from sites.starters import site_templates
from sites.subdomains import address_of, fault

# No control, direction or line characters: a name stands in mails, lists and the trail.
SEEN = re.compile("^[^\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]*\\Z")


class SiteSerializer(serializers.ModelSerializer[Site]):
    url = serializers.SerializerMethodField(help_text="Where visitors find it once it is live.")
    release = serializers.IntegerField(
        source="live_release.number",
        default=None,
        allow_null=True,
        read_only=True,
        help_text="The release that visitors see.",
    )

    role = serializers.ChoiceField(choices=Access.Role.choices, read_only=True, help_text="What you are on it.")

    class Meta:
        model = Site
        fields = [
            "id",
            "name",
            "subdomain",
            "url",
            "status",
            "release",
            "role",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields  # only services move them

    def get_url(self, site: Site) -> str:
        return address_of(site.subdomain)


class SiteChangeSerializer(StrictSerializer):
    name = serializers.RegexField(SEEN, max_length=120, error_messages={"invalid": "Use characters that can be seen."})
    subdomain = serializers.CharField(max_length=63)

    def validate_subdomain(self, value: str) -> str:
        if message := fault(value):
            raise serializers.ValidationError(message, code="subdomain_refused")
        return value


class SiteCreateSerializer(SiteChangeSerializer):
    template = serializers.CharField(
        max_length=40, required=False, allow_null=True, help_text="A key from /site-templates."
    )

    def validate_template(self, value: str | None) -> str | None:
        if value is not None and value not in site_templates():
            raise serializers.ValidationError("There is no such site template.", code="unknown_template")
        return value


class ReleaseSerializer(serializers.ModelSerializer[Release]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)
    live = serializers.SerializerMethodField(help_text="Whether visitors see it now.")

    class Meta:
        model = Release
        fields = ["id", "number", "note", "author", "live", "created_at"]
        read_only_fields = fields

    def get_live(self, release: Release) -> bool:
        return bool(release.pk == self.context["live"])


class NoteSerializer(StrictSerializer):
    note = serializers.CharField(max_length=500, allow_blank=True, required=False, help_text="What is new in it.")


class ScheduleSerializer(serializers.ModelSerializer[Schedule]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)
    draft_version = serializers.IntegerField(
        source="revision.version", default=None, allow_null=True, read_only=True, help_text="Which draft is published."
    )

    class Meta:
        model = Schedule
        fields = ["id", "act", "at", "note", "author", "draft_version", "state", "refused", "created_at"]
        read_only_fields = fields


class ScheduleCreateSerializer(NoteSerializer):
    act = serializers.ChoiceField(choices=Schedule.Act.choices, default=Schedule.Act.PUBLISH)
    at = serializers.DateTimeField()


class ReviewSerializer(serializers.ModelSerializer[Review]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)
    editor = serializers.UUIDField(source="editor_id", allow_null=True, read_only=True)
    revision = serializers.UUIDField(source="revision_id", allow_null=True, read_only=True)
    draft_version = serializers.IntegerField(
        source="revision.version", default=None, allow_null=True, read_only=True, help_text="What it is about."
    )

    class Meta:
        model = Review
        fields = [
            "id",
            "state",
            "note",
            "author",
            "revision",
            "draft_version",
            "comment",
            "editor",
            "created_at",
            "answered_at",
        ]
        read_only_fields = fields


class CommentSerializer(StrictSerializer):
    comment = serializers.CharField(max_length=2000)


class OptionalCommentSerializer(StrictSerializer):
    comment = serializers.CharField(max_length=2000, allow_blank=True, required=False)


class PreviewSerializer(serializers.ModelSerializer[Preview]):
    author = serializers.UUIDField(source="author_id", read_only=True)
    revision = serializers.UUIDField(source="revision_id", allow_null=True, read_only=True)
    post = serializers.UUIDField(source="post_id", allow_null=True, read_only=True)
    url = serializers.SerializerMethodField(help_text="Whoever has it sees what is not published.")

    class Meta:
        model = Preview
        fields = ["id", "url", "revision", "post", "author", "created_at", "expires_at"]
        read_only_fields = fields

    def get_url(self, preview: Preview) -> str:
        return link_to(preview, self.context["site"])


class PreviewCreateSerializer(StrictSerializer):
    """Without `revision` and `post` the link shows the draft, as it is whenever somebody looks."""

    revision = serializers.UUIDField(required=False, allow_null=True)
    post = serializers.UUIDField(required=False, allow_null=True)
    hours = serializers.IntegerField(min_value=1, max_value=24 * 30, default=72, help_text="How long it works.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("revision") and attrs.get("post"):
            raise serializers.ValidationError("Give either a revision or a post.", code="too_many_targets")
        return attrs


class RevisionSerializer(serializers.ModelSerializer[Revision]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)

    class Meta:
        model = Revision
        fields = ["id", "version", "author", "size", "created_at"]
        read_only_fields = fields


class ChangedPageSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    path = serializers.CharField()
    title = serializers.CharField()


class ChangedBlockSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    type = serializers.CharField()
    page = serializers.CharField()
    inside = serializers.CharField(allow_null=True, help_text="The block around it.")
    slot = serializers.CharField(allow_null=True)


class ChangedPagesSerializer(serializers.Serializer[Any]):
    added = ChangedPageSerializer(many=True)
    removed = ChangedPageSerializer(many=True)
    moved = ChangedPageSerializer(many=True)
    changed = ChangedPageSerializer(many=True)


class ChangedBlocksSerializer(serializers.Serializer[Any]):
    added = ChangedBlockSerializer(many=True)
    removed = ChangedBlockSerializer(many=True)
    moved = ChangedBlockSerializer(many=True)
    changed = ChangedBlockSerializer(many=True)


class DifferencesSerializer(serializers.Serializer[Any]):
    parts = serializers.ListField(child=serializers.CharField(), help_text="Changed top-level parts but the pages.")
    pages = ChangedPagesSerializer()
    blocks = ChangedBlocksSerializer()


class SiteTemplateSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    pages = serializers.IntegerField()


class MemberSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Access.Role.choices)
    since = serializers.DateTimeField()


ROLES = [choice for choice in Access.Role.choices if choice[0] != Access.Role.OWNER]


class RoleSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=ROLES, help_text="A site is handed over with /transfer, not like this.")


class InvitationCreateSerializer(RoleSerializer):
    email = serializers.EmailField(max_length=254)


class InvitationSerializer(serializers.ModelSerializer[Invitation]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)

    class Meta:
        model = Invitation
        fields = ["id", "email", "role", "author", "created_at", "expires_at"]
        read_only_fields = fields


class InvitationTokenSerializer(StrictSerializer):
    token = serializers.CharField(max_length=200, help_text="What stands after the # of the mailed link.")


class OpenedInvitationSerializer(serializers.ModelSerializer[Invitation]):
    site = serializers.CharField(source="site.name")
    invited_by = serializers.CharField(source="author.email", default=None, allow_null=True)

    class Meta:
        model = Invitation
        fields = ["site", "role", "email", "invited_by", "expires_at"]
        read_only_fields = fields


class JoinedSerializer(serializers.Serializer[Any]):
    site = serializers.UUIDField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=ROLES)


class TransferSerializer(StrictSerializer):
    member = serializers.UUIDField(help_text="Somebody who has a role on the site.")
