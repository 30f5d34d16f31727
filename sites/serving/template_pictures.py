"""Pictures that ship with the site templates, in the widths a browser may choose from."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SITE_TEMPLATES_DIR = Path(__file__).parent.parent / "blueprint" / "site_templates"


@dataclass(frozen=True, slots=True)
class ShippedPicture:
    """Sizes in CSS pixels of the largest file; `files` maps each width to its address on a site and its path
    here.
    """

    width: int
    height: int
    files: dict[int, tuple[str, Path]]

    @property
    def srcset(self) -> str:
        return ", ".join(f"{address} {width}w" for width, (address, _) in sorted(self.files.items()))

    @property
    def src(self) -> str:
        widths = sorted(self.files)
        return self.files[widths[len(widths) // 2]][0]


@cache
def shipped_pictures() -> dict[str, ShippedPicture]:
    """Every shipped picture by asset id (`bakery/hero`).

    An address carries a digest, so it may be cached for ever.
    """
    pictures = {}
    for asset, facts in json.loads((SITE_TEMPLATES_DIR / "pictures.json").read_text()).items():
        template, name = asset.split("/")
        files = {}
        for width in facts["widths"]:
            path = SITE_TEMPLATES_DIR / template / "pictures" / f"{name}-{width}.webp"
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            files[width] = (f"/_/a/{template}/{name}-{width}.{digest}.webp", path)
        pictures[asset] = ShippedPicture(facts["width"], facts["height"], files)
    return pictures


@cache
def shipped_files() -> dict[str, Path]:
    """Path on disk of every picture file by its address on a site."""
    return {
        address: path for picture in shipped_pictures().values() for address, path in picture.files.values()
    }
