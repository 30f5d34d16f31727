"""Refusals of the analytics app."""

from core.errors import DomainError


class NameTaken(DomainError):
    code = "name_taken"
    status = 409
    message = "This name is already used. Choose another one."


class TooManySaved(DomainError):
    code = "too_many_saved"
    status = 409
    message = "This site has reached the limit for these. Delete one first."
