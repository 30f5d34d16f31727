"""Site templates: complete blueprints that a new site can start from. They are files in `site_templates/`."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SITE_TEMPLATES_DIR = Path(__file__).parent / "site_templates"


@dataclass(frozen=True, slots=True)
class SiteTemplate:
    """`key` identifies the template in the API; `blueprint` is a valid document."""

    key: str
    name: str
    description: str
    blueprint: dict[str, Any]


@cache
def site_templates() -> dict[str, SiteTemplate]:
    """Return every site template by its key. Each process reads the files once."""
    metadata_by_key = json.loads((SITE_TEMPLATES_DIR / "templates.json").read_text())
    return {
        key: SiteTemplate(
            key,
            metadata["name"],
            metadata["description"],
            json.loads((SITE_TEMPLATES_DIR / key / "blueprint.json").read_text()),
        )
        for key, metadata in metadata_by_key.items()
    }


def empty_blueprint(title: str) -> dict[str, Any]:
    """Return the blueprint of a site that starts without a template: settings, but no pages."""
    return {
        "schema": 1,
        "theme": {"preset": "harbour"},
        "settings": {"title": title, "locale": "en"},
        "navigation": [],
        "pages": [],
        "forms": [],
    }
