"""Factories of sites and blueprints. They write in the tenancy context `system` and leave it afterwards."""

import factory
from factory.django import DjangoModelFactory

from accounts.tests.factories import UserFactory
from core import tenancy
from sites.models import Access, Draft, Site
from sites.services.drafts import create_revision


def heading_block(pk="b1", text="x"):
    return {"id": pk, "type": "heading", "v": 1, "props": {"text": text}}


def page(path="/", **overrides):
    """A page with one heading."""
    name = path.strip("/").replace("/", "-") or "home"
    blocks = [heading_block(f"{name}-h", f"Welcome to {name}")]
    return {"id": name, "path": path, "title": name.title(), "blocks": blocks, **overrides}


def document(*pages, **overrides):
    """A valid blueprint."""
    return {"schema": 1, "settings": {"title": "A site"}, "pages": list(pages) or [page()], **overrides}


class SiteFactory(DjangoModelFactory):
    class Meta:
        model = Site
        skip_postgeneration_save = True

    owner = factory.SubFactory(UserFactory)
    name = "A site"
    subdomain = factory.Sequence(lambda number: f"site-{number}")

    @classmethod
    def _create(cls, model_class, *args, blueprint=None, **kwargs):
        with tenancy.context(tenancy.SYSTEM):
            site = super()._create(model_class, *args, **kwargs)
            Access.objects.create(site=site, user=site.owner, role=Access.Role.OWNER)
            draft = Draft.objects.create(site=site, blueprint=blueprint or document(), author=site.owner)
            create_revision(draft)
        return site
