"""The pictures that come with the site templates, each in several widths for `srcset`."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SITE_TEMPLATES_DIR = Path(__file__).parent.parent / "blueprint" / "site_templates"


@dataclass(frozen=True, slots=True)
class ShippedPicture:
    """One picture. `width` and `height` are those of the largest file, in CSS pixels.

    `files` maps each width to the URL path on a published site and the path of the file on disk.
    """

    width: int
    height: int
    files: dict[int, tuple[str, Path]]

    @property
    def srcset(self) -> str:
        """The value of the `srcset` attribute: every width with its URL path."""
        return ", ".join(f"{url_path} {width}w" for width, (url_path, _) in sorted(self.files.items()))

    @property
    def src(self) -> str:
        """The URL path of the middle width, for browsers that do not choose from `srcset`."""
        widths = sorted(self.files)
        return self.files[widths[len(widths) // 2]][0]


@cache
def shipped_pictures() -> dict[str, ShippedPicture]:
    """Return every shipped picture by its asset id (`bakery/hero`).

    Its URL path contains a digest of the file, so browsers may cache it without end.
    """
    pictures = {}
    for asset, metadata in json.loads((SITE_TEMPLATES_DIR / "pictures.json").read_text()).items():
        template, name = asset.split("/")
        files = {}
        for width in metadata["widths"]:
            path = SITE_TEMPLATES_DIR / template / "pictures" / f"{name}-{width}.webp"
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            files[width] = (f"/_/a/{template}/{name}-{width}.{digest}.webp", path)
        pictures[asset] = ShippedPicture(metadata["width"], metadata["height"], files)
    return pictures


@cache
def shipped_files() -> dict[str, Path]:
    """Return the path on disk of every picture file, by its URL path on a published site."""
    return {
        url_path: path for picture in shipped_pictures().values() for url_path, path in picture.files.values()
    }
