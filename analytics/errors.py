"""The ways analytics say no."""

from core.errors import DomainError


class NameTaken(DomainError):
    code = "name_taken"
    status = 409
    message = "There is one with this name. Choose another one."


class TooManySaved(DomainError):
    code = "too_many_saved"
    status = 409
    message = "This site has as many of these as it may have. Delete one first."
