"""The ways analytics say no."""

from core.errors import DomainError


class NameTaken(DomainError):
    code, status, message = "name_taken", 409, "There is one with this name. Choose another one."


class TooManySaved(DomainError):
    code, status, message = "too_many_saved", 409, "This site has as many of these as it may have. Delete one first."
