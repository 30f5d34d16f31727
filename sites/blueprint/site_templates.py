"""Site templates: finished blueprints that a new site may start from, kept in `site_templates/`."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SITE_TEMPLATES_DIR = Path(__file__).parent / "site_templates"


@dataclass(frozen=True, slots=True)
class SiteTemplate:
    """`key` names it in the API; `blueprint` is a valid document."""

    key: str
    name: str
    description: str
    blueprint: dict[str, Any]


@cache
def site_templates() -> dict[str, SiteTemplate]:
    """Every template by its key."""
    listed = json.loads((SITE_TEMPLATES_DIR / "templates.json").read_text())
    return {
        key: SiteTemplate(
            key,
            facts["name"],
            facts["description"],
            json.loads((SITE_TEMPLATES_DIR / key / "blueprint.json").read_text()),
        )
        for key, facts in listed.items()
    }


def empty_blueprint(title: str) -> dict[str, Any]:
    """What a site without a template starts with: settings, and no page yet."""
    return {
        "schema": 1,
        "theme": {"preset": "harbour"},
        "settings": {"title": title, "locale": "en"},
        "navigation": [],
        "pages": [],
        "forms": [],
    }
