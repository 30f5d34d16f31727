"""Blocks for businesses: features, prices, people, customers and contact details."""

from typing import Annotated, Literal

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from pydantic import AfterValidator, Field, StringConstraints

from sites.blueprint.blocks.fields import (
    Action,
    Href,
    Line,
    Link,
    Picture,
    Props,
    Text,
    Title,
    visible_line,
)
from sites.blueprint.blocks.registry import block

Icon = Literal[
    "star", "heart", "leaf", "clock", "truck", "shield", "chart", "people", "spark", "pin", "phone", "check"
]


def validate_email_address(value: str) -> str:
    try:
        validate_email(value)
    except ValidationError:
        raise ValueError("This is not an e-mail address.") from None
    return value


Email = Annotated[str, StringConstraints(max_length=254), AfterValidator(validate_email_address)]
Telephone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9 ()./-]{3,30}$")]


class Feature(Props):
    title: Title
    text: Text = ""
    icon: Icon | None = None
    image: Picture | None = None
    link: Link | None = None


@block("features")
class Features(Props):
    """What the business offers, as a grid of cards."""

    title: Line = ""
    text: Text = ""
    items: Annotated[list[Feature], Field(min_length=1, max_length=24)]
    columns: Annotated[int, Field(ge=2, le=4)] = 3


class Stat(Props):
    value: Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(visible_line)]
    label: Title


@block("stats")
class Stats(Props):
    """A few figures with their labels."""

    items: Annotated[list[Stat], Field(min_length=1, max_length=8)]


class Plan(Props):
    name: Title
    price: Annotated[str, StringConstraints(min_length=1, max_length=40), AfterValidator(visible_line)]
    period: Line = ""
    text: Text = ""
    features: Annotated[list[Line], Field(max_length=20)] = []
    action: Action | None = None
    highlighted: bool = False


@block("pricing")
class Pricing(Props):
    """Price plans side by side."""

    title: Line = ""
    text: Text = ""
    plans: Annotated[list[Plan], Field(min_length=1, max_length=6)]


class MenuItem(Props):
    name: Title
    text: Line = ""
    price: Line = ""


class MenuGroup(Props):
    title: Title
    items: Annotated[list[MenuItem], Field(min_length=1, max_length=60)]


@block("menu")
class Menu(Props):
    """A price list in groups, for example of a bakery."""

    title: Line = ""
    groups: Annotated[list[MenuGroup], Field(min_length=1, max_length=20)]


class Member(Props):
    name: Title
    role: Line = ""
    text: Text = ""
    image: Picture | None = None


@block("team")
class Team(Props):
    """The people of the business."""

    title: Line = ""
    members: Annotated[list[Member], Field(min_length=1, max_length=60)]


class Logo(Props):
    name: Title
    image: Picture | None = None
    href: Href | None = None


@block("logos")
class Logos(Props):
    """Logos of customers or partners; the name is shown where a logo has no picture."""

    title: Line = ""
    items: Annotated[list[Logo], Field(min_length=1, max_length=40)]


class Hours(Props):
    days: Title
    time: Title


@block("contact")
class Contact(Props):
    """Address, phone number, e-mail address and opening hours."""

    title: Line = ""
    name: Line = ""
    address: Annotated[list[Line], Field(max_length=8)] = []
    phone: Telephone | None = None
    email: Email | None = None
    hours: Annotated[list[Hours], Field(max_length=14)] = []
