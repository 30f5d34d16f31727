"""Sign-in of staff to the admin: password with second factor or a passkey, and the page to set up TOTP."""

import hashlib
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth import logout
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.safestring import mark_safe
from rest_framework.exceptions import ParseError

from accounts.credentials import known_devices
from accounts.credentials.known_devices import Device
from accounts.errors import ChallengeRefused, CodeRefused, CredentialsRefused, PasskeyRefused
from accounts.models import Totp, User
from accounts.qr_codes import qr_svg
from accounts.responses import DEVICE_COOKIE, DEVICE_COOKIE_SECONDS, device_of
from accounts.selectors import factors_of
from accounts.services import mfa, sessions, sign_in
from accounts.services import users as users_services
from audit import actors
from audit.services import record
from core.admin_site import PlatformAdminSite
from core.errors import DomainError
from core.http.json_parser import parse_json

# Keys in Django's session.
PROOF_SESSION_KEY = "second_factor"  # method of the second factor
PROVED_AT_SESSION_KEY = "proved_at"  # Unix time of the sign-in
TOTP_DIGEST_SESSION_KEY = "totp_begun"  # digest of the TOTP secret that this browser was shown

PAGES_WITHOUT_SECOND_FACTOR = {"second_factor", "logout", "jsi18n"}  # URL names


class SignInForm(AdminAuthenticationForm):
    """Accepts address, password and code in one step, or a passkey alone."""

    code = forms.CharField(
        required=False,
        max_length=40,
        label="Code",
        help_text="From your authenticator app, or a recovery code. Leave it empty if you have none.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "text"}),
    )
    challenge = forms.CharField(required=False, max_length=1000, widget=forms.HiddenInput)
    credential = forms.CharField(required=False, max_length=20_000, widget=forms.HiddenInput)

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        if self.data.get("credential"):
            self.fields["username"].required = False
            self.fields["password"].required = False

    def clean(self) -> dict[str, Any]:
        """Authenticate, and store the method of the second factor as `user.proved_by`."""
        try:
            if self.cleaned_data.get("credential"):
                self.user_cache = self._authenticate_by_passkey()
                self.confirm_login_allowed(self.user_cache)
                return self.cleaned_data
            cleaned_data = super().clean()
            user = self.get_user()
            if user is None:  # a required field is missing and has its own error
                return dict(cleaned_data)
            user.proved_by = self._verify_code(user)  # type: ignore[attr-defined]
            return dict(cleaned_data)
        except (CodeRefused, PasskeyRefused, ChallengeRefused) as refusal:
            raise ValidationError(refusal.message) from None

    def confirm_login_allowed(self, user: Any) -> None:
        """Require a verified address, in addition to Django's checks, when EMAIL_VERIFICATION_REQUIRED."""
        super().confirm_login_allowed(user)
        if settings.EMAIL_VERIFICATION_REQUIRED and not user.email_verified_at:
            raise ValidationError("Confirm the e-mail address of this account first.")

    def _authenticate_by_passkey(self) -> User:
        try:
            credential = parse_json(self.cleaned_data["credential"].encode())
        except ParseError:
            raise PasskeyRefused from None
        user = sign_in.verify_passkey_sign_in(
            self.cleaned_data.get("challenge", ""), credential, now=timezone.now()
        )
        user.proved_by = "passkey"  # type: ignore[attr-defined]
        return user

    def _verify_code(self, user: User) -> str:
        """Return the method of the second factor, or an empty string for a user without second factors."""
        if not factors_of(user.pk).any:
            return ""
        code = self.cleaned_data.get("code", "").strip()
        if not code:
            raise ValidationError("Enter the code of your authenticator app, or use your passkey.")
        kind = "code" if code.replace(" ", "").isdecimal() else "recovery_code"
        assert self.request is not None
        return sign_in.verify_second_factor(
            user, {kind: code}, challenge=None, device=device_of(self.request), now=timezone.now()
        )


class PasswordForm(AdminPasswordChangeForm):
    """Changes the password of the signed-in staff by the service, which also ends their other sessions."""

    def clean_old_password(self) -> str:
        """Verify the old password by the service, which throttles guessing. Raises TooManyAttempts."""
        old_password: str = self.cleaned_data["old_password"]
        try:
            sign_in.check_credentials(self.user.email, old_password, device=Device(client="password change"))
        except CredentialsRefused as refusal:
            raise ValidationError(refusal.message) from None
        return old_password

    def save(self, commit: bool = True) -> User:
        """Set the password. The view keeps this session signed in with the reloaded user."""
        user = self.user
        users_services.set_password(
            user.pk, self.cleaned_data["new_password1"], actor=actors.staff(user), now=timezone.now()
        )
        user.refresh_from_db()
        return user


def require_second_factor(request: HttpRequest) -> HttpResponseBase | None:
    """Return a redirect for staff without a proved second factor when STAFF_MFA_REQUIRED, else None."""
    match = request.resolver_match
    if not settings.STAFF_MFA_REQUIRED or request.session.get(PROOF_SESSION_KEY):
        return None
    if match and match.url_name in PAGES_WITHOUT_SECOND_FACTOR:
        return None
    if factors_of(request.user.pk).any:  # type: ignore[arg-type]  # admin_view requires staff
        logout(request)
        return HttpResponseRedirect(reverse("admin:login"))
    return HttpResponseRedirect(reverse("admin:second_factor"))


def remember_device(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the cookie of known devices after a sign-in. Mails the owner when the device is new."""
    user = request.user
    device = device_of(request)
    assert isinstance(user, User)
    if not known_devices.find_device_nonce(user, device):
        sessions.mail_device_notice("new_device", user, device=device, now=timezone.now())
    response.set_cookie(
        DEVICE_COOKIE,
        known_devices.make_device_cookie(user, device),
        max_age=DEVICE_COOKIE_SECONDS,
        secure=not settings.DEVELOPMENT,
        httponly=True,
        samesite="Strict",
    )


def second_factor_view(site: PlatformAdminSite, request: HttpRequest) -> HttpResponseBase:
    """Page to set up an authenticator app, or to see the second factors of the signed-in staff.

    Setting one up needs a sign-in within REAUTHENTICATION_AFTER.
    """
    user = request.user
    now = timezone.now()
    assert isinstance(user, User)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Second factor",
        "proved": request.session.get(PROOF_SESSION_KEY),
    }
    factors = factors_of(user.pk)
    seconds_since_sign_in = now.timestamp() - request.session.get(PROVED_AT_SESSION_KEY, 0)
    if not factors.any and seconds_since_sign_in > settings.REAUTHENTICATION_AFTER.total_seconds():
        logout(request)
        return HttpResponseRedirect(f"{reverse('admin:login')}?next={request.path}")
    if request.method == "POST" and not factors.any:
        try:
            _require_same_secret(request, user)
            context["recovery_codes"] = mfa.confirm_totp(user, request.POST.get("code", "")[:20], now=now)
            request.session[PROOF_SESSION_KEY] = "totp"
            factors = factors_of(user.pk)
        except DomainError as refusal:
            context["error"] = refusal.message
    if not factors.any:
        context |= _totp_context(request, user, new_secret="error" not in context)
    return TemplateResponse(
        request,
        "admin/second_factor.html",
        {**context, "factors": factors},
        headers={"Cache-Control": "no-store"},
    )


def _totp_context(request: HttpRequest, user: User, *, new_secret: bool) -> dict[str, Any]:
    """Return secret and QR code of the TOTP being set up, and remember which one this browser was shown."""
    secret = mfa.begin_totp(user) if new_secret else Totp.objects.get(user=user).secret
    request.session[TOTP_DIGEST_SESSION_KEY] = _digest(secret)
    # Safe: we generate the SVG, and the URI in it is encoded as a QR code.
    qr_code = mark_safe(qr_svg(mfa.provisioning_uri(user, secret)))  # noqa: S308
    return {"secret": secret, "qr_svg": qr_code}


def _require_same_secret(request: HttpRequest, user: User) -> None:
    """Raise CodeRefused and begin anew unless this browser was shown the TOTP secret being set up."""
    totp = Totp.objects.filter(user=user).first()
    if totp is None or request.session.get(TOTP_DIGEST_SESSION_KEY) != _digest(totp.secret):
        mfa.begin_totp(user)
        raise CodeRefused


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def record_sign_in(*, request: HttpRequest, user: User, **_: Any) -> None:
    """Receiver of `user_logged_in`."""
    method = getattr(user, "proved_by", "")
    request.session[PROOF_SESSION_KEY] = method
    request.session[PROVED_AT_SESSION_KEY] = timezone.now().timestamp()
    record("admin.signed_in", actor=actors.staff(user), subject=user, method=method or "password")


def record_sign_out(*, request: HttpRequest, user: User | None, **_: Any) -> None:
    """Receiver of `user_logged_out`."""
    if user is not None:
        record("admin.signed_out", actor=actors.staff(user), subject=user)


def install(site: PlatformAdminSite) -> None:
    """Connect the forms, checks and pages of this module to the admin site."""
    site.login_form = SignInForm  # type: ignore[assignment]
    site.password_change_form = PasswordForm  # type: ignore[assignment]
    site.before_page = require_second_factor
    site.after_login = remember_device
    site.extra_urls = [
        path(
            "second-factor/",
            site.admin_view(lambda request: second_factor_view(site, request)),
            name="second_factor",
        )
    ]
    user_logged_in.connect(record_sign_in)
    user_logged_out.connect(record_sign_out)


install(cast(PlatformAdminSite, admin.site))
