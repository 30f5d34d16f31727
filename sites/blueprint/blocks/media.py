"""Blocks that show pictures, or content of another website in a frame.

A frame is loaded only after the visitor opens it, so reading a page sends no request to the other website.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from sites.blueprint.blocks.fields import Line, Link, Picture, Props, Title
from sites.blueprint.blocks.registry import block


@block("image")
class Image(Props):
    """One picture."""

    image: Picture
    caption: Line = ""
    size: Literal["normal", "wide", "full"] = "normal"
    link: Link | None = None


class GalleryItem(Props):
    image: Picture
    caption: Line = ""


@block("gallery")
class Gallery(Props):
    """Many pictures."""

    title: Line = ""
    items: Annotated[list[GalleryItem], Field(min_length=1, max_length=100)]
    columns: Annotated[int, Field(ge=2, le=4)] = 3


@block("video")
class Video(Props):
    """A video at a provider, by its id there."""

    provider: Literal["youtube", "vimeo"]
    video_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{5,20}$")]
    title: Title
    poster: Picture | None = None

    @property
    def frame(self) -> str:
        """The URL of the frame."""
        if self.provider == "youtube":
            return f"https://www.youtube-nocookie.com/embed/{self.video_id}"
        return f"https://player.vimeo.com/video/{self.video_id}?dnt=1"


@block("map")
class Map(Props):
    """A place on OpenStreetMap."""

    title: Title
    latitude: Annotated[float, Field(ge=-85, le=85)]
    longitude: Annotated[float, Field(ge=-180, le=180)]

    @property
    def frame(self) -> str:
        """The URL of the frame."""
        west = self.longitude - 0.008
        south = self.latitude - 0.004
        east = self.longitude + 0.008
        north = self.latitude + 0.004
        box = f"{west:.5f}%2C{south:.5f}%2C{east:.5f}%2C{north:.5f}"
        pin = f"{self.latitude:.5f}%2C{self.longitude:.5f}"
        return f"https://www.openstreetmap.org/export/embed.html?bbox={box}&layer=mapnik&marker={pin}"

    @property
    def href(self) -> str:
        """The URL of the larger map."""
        pin = f"{self.latitude:.5f}/{self.longitude:.5f}"
        return (
            f"https://www.openstreetmap.org/?mlat={self.latitude:.5f}&mlon={self.longitude:.5f}#map=17/{pin}"
        )


EMBED_URL_PREFIXES = {
    "spotify": "https://open.spotify.com/embed/",
    "soundcloud": "https://w.soundcloud.com/player/?url=https%3A//api.soundcloud.com/",
    "codepen": "https://codepen.io/",
    "figma": "https://www.figma.com/embed?embed_host=share&url=https://www.figma.com/",
}
FRAME_HOSTS = [
    "https://www.youtube-nocookie.com",
    "https://player.vimeo.com",
    "https://www.openstreetmap.org",
    "https://open.spotify.com",
    "https://w.soundcloud.com",
    "https://codepen.io",
    "https://www.figma.com",
]


@block("embed")
class Embed(Props):
    """Content of an allowed provider, by its path there. HTML of the customer is not accepted."""

    provider: Literal["spotify", "soundcloud", "codepen", "figma"]
    reference: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_/-]{2,200}$")]
    title: Title

    @property
    def frame(self) -> str:
        """The URL of the frame."""
        return EMBED_URL_PREFIXES[self.provider] + self.reference
