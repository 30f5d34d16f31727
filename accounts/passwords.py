"""What a password must be: long enough, not endless, not known to everybody. No composition rules (NIST 800-63B)."""

from django.core.exceptions import ValidationError

from accounts.models import User

MIN_LENGTH = 8
MAX_BYTES = 1024


class LengthValidator:
    """8 characters or more, 1024 bytes of UTF-8 or fewer."""

    def validate(self, password: str, user: User | None = None) -> None:
        if len(password) < MIN_LENGTH:
            raise ValidationError(f"Use at least {MIN_LENGTH} characters.", code="password_too_short")
        if len(password.encode()) > MAX_BYTES:
            raise ValidationError(f"Use at most {MAX_BYTES} bytes.", code="password_too_long")

    def get_help_text(self) -> str:
        return f"Use at least {MIN_LENGTH} characters."
