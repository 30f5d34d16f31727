"""What a password must be: long enough, not endless, not known to everybody, not one's own name.

No composition rules (NIST 800-63B-4, 3.1.1.2); the list of common ones is Django's and needs no network.
"""

import re
from typing import Any

from django.contrib.auth.password_validation import CommonPasswordValidator, UserAttributeSimilarityValidator
from django.core.exceptions import ValidationError

from accounts.models import User

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_BYTES = 1024
MAX_PADDING_CHARACTERS = 5  # characters around a common password that make it no better: Password123!
PLATFORM_WORDS = ("getyousite",)


class LengthValidator:
    """8 characters or more, 1024 bytes of UTF-8 or fewer."""

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
    """Refuses common passwords, also with a few digits and signs around them."""

    def validate(self, password: str, user: Any = None) -> None:
        plain = password.lower().strip()
        core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", plain)
        common = plain in self.passwords or (
            core in self.passwords and len(plain) - len(core) <= MAX_PADDING_CHARACTERS
        )
        if common or core in PLATFORM_WORDS:
            raise ValidationError(self.get_error_message(), code="password_too_common")


class SimilarityValidator(UserAttributeSimilarityValidator):
    """Refuses passwords that are nearly one's own name or address."""

    def __init__(self) -> None:
        super().__init__(user_attributes=("email", "name"))

    def validate(self, password: str, user: Any = None) -> None:
        super().validate(password[:100], user)  # comparing takes the square of the length
