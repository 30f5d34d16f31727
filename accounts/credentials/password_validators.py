"""Password validators: length, common passwords, similarity to the user's name or address.

There are no composition rules (NIST SP 800-63B-4, section 3.1.1.2). Common passwords are in the list that
Django ships, so validation needs no network.
"""

import re
from typing import Any

from django.contrib.auth.password_validation import CommonPasswordValidator, UserAttributeSimilarityValidator
from django.core.exceptions import ValidationError

from accounts.models import User

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_BYTES = 1024
MAX_PADDING_CHARACTERS = 5  # digits and signs that do not make a common password safe: Password123!
ADDITIONAL_COMMON_WORDS = ("getyousite",)


class LengthValidator:
    """Requires 8 characters or more, and 1024 bytes of UTF-8 or fewer."""

    def validate(self, password: str, user: User | None = None) -> None:
        if len(password) < MIN_PASSWORD_CHARACTERS:
            raise ValidationError(
                f"Use at least {MIN_PASSWORD_CHARACTERS} characters.", code="password_too_short"
            )
        if len(password.encode()) > MAX_PASSWORD_BYTES:
            raise ValidationError(f"Use at most {MAX_PASSWORD_BYTES} bytes.", code="password_too_long")

    def get_help_text(self) -> str:
        return f"Use at least {MIN_PASSWORD_CHARACTERS} characters."


class CommonValidator(CommonPasswordValidator):
    """Refuses common passwords, also with MAX_PADDING_CHARACTERS digits and signs around them."""

    def validate(self, password: str, user: Any = None) -> None:
        normalised = password.lower().strip()
        unpadded = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", normalised)
        padding = len(normalised) - len(unpadded)
        is_common = normalised in self.passwords or (
            unpadded in self.passwords and padding <= MAX_PADDING_CHARACTERS
        )
        if is_common or unpadded in ADDITIONAL_COMMON_WORDS:
            raise ValidationError(self.get_error_message(), code="password_too_common")


class SimilarityValidator(UserAttributeSimilarityValidator):
    """Refuses passwords that are similar to the user's name or e-mail address."""

    def __init__(self) -> None:
        super().__init__(user_attributes=("email", "name"))

    def validate(self, password: str, user: Any = None) -> None:
        super().validate(password[:100], user)  # comparing takes time quadratic in the length
