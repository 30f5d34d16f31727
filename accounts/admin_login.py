"""The door of the admin: the sign-in form with its second factor, and the page where staff set one up."""

import hashlib
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth import logout
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.safestring import mark_safe
from rest_framework.exceptions import ParseError

from accounts.credentials import known_devices
from accounts.errors import ChallengeRefused, CodeRefused, PasskeyRefused
from accounts.models import Totp, User
from accounts.responses import DEVICE_COOKIE, DEVICE_SECONDS, device_of
from accounts.selectors import factors_of
from accounts.services import mfa, sessions, sign_in
from accounts.views.mfa import qr_svg
from audit import actors
from audit.services import record
from core.admin_site import PlatformAdminSite
from core.errors import DomainError
from core.http.json_parser import parse_json

PROVED = "second_factor"  # in Django's session: how it was proved
PROVED_AT = "proved_at"  # Unix time
BEGUN = "totp_begun"  # digest of the secret that this browser was shown
OPEN_PAGES = {"second_factor", "logout", "jsi18n"}


class SignInForm(AdminAuthenticationForm):
    """Address, password and code in one step; or a passkey alone."""

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
            self.fields["username"].required = self.fields["password"].required = False

    def clean(self) -> dict[str, Any]:
        try:
            if self.cleaned_data.get("credential"):
                self.user_cache = self._by_passkey()
                self.confirm_login_allowed(self.user_cache)
                return self.cleaned_data
            cleaned = super().clean()
            user = self.get_user()
            if user is None:  # a field is missing, and says so
                return dict(cleaned)
            user.proved_by = self._by_code(user)  # type: ignore[attr-defined]
            return dict(cleaned)
        except (CodeRefused, PasskeyRefused, ChallengeRefused) as refusal:
            raise forms.ValidationError(refusal.message) from None

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        if settings.EMAIL_VERIFICATION_REQUIRED and not user.email_verified_at:
            raise forms.ValidationError("Confirm the e-mail address of this account first.")

    def _by_passkey(self) -> User:
        try:
            credential = parse_json(self.cleaned_data["credential"].encode())
        except ParseError:
            raise PasskeyRefused from None
        user = sign_in.passkey_user(self.cleaned_data.get("challenge", ""), credential, now=timezone.now())
        user.proved_by = "passkey"  # type: ignore[attr-defined]
        return user

    def _by_code(self, user: User) -> str:
        """How the second factor was proved; empty when there is none to prove."""
        if not factors_of(user.pk).any:
            return ""
        code = self.cleaned_data.get("code", "").strip()
        if not code:
            raise forms.ValidationError("Enter the code of your authenticator app, or use your passkey.")
        kind = "code" if code.replace(" ", "").isdecimal() else "recovery_code"
        return sign_in.check_factor(
            user, {kind: code}, asked=None, device=device_of(self._request), now=timezone.now()
        )

    @property
    def _request(self) -> HttpRequest:
        assert self.request is not None
        return self.request


def barrier(request: HttpRequest) -> HttpResponseBase | None:
    """Where staff need a second factor, they see no page before they proved or made one."""
    match = request.resolver_match
    if (
        not settings.STAFF_MFA_REQUIRED
        or request.session.get(PROVED)
        or (match and match.url_name in OPEN_PAGES)
    ):
        return None
    if factors_of(request.user.pk).any:  # type: ignore[arg-type]  # admin_view let staff in
        logout(request)
        return HttpResponseRedirect(reverse("admin:login"))
    return HttpResponseRedirect(reverse("admin:second_factor"))


def welcome(request: HttpRequest, response: HttpResponseBase) -> None:
    """This browser is known from now on; a new one is told to its owner by mail."""
    user = request.user
    device = device_of(request)
    assert isinstance(user, User)
    if not known_devices.known(user, device):
        sessions.tell("new_device", user, device=device, now=timezone.now())
    response.set_cookie(
        DEVICE_COOKIE,
        known_devices.remember(user, device),
        max_age=DEVICE_SECONDS,
        secure=not settings.DEVELOPMENT,
        httponly=True,
        samesite="Strict",
    )


def second_factor(site: PlatformAdminSite, request: HttpRequest) -> HttpResponseBase:
    """Set up an authenticator app, or see which factors one has.

    Needs a sign-in of the last minutes to set one up.
    """
    user = request.user
    now = timezone.now()
    assert isinstance(user, User)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Second factor",
        "proved": request.session.get(PROVED),
    }
    factors = factors_of(user.pk)
    if (
        not factors.any
        and now.timestamp() - request.session.get(PROVED_AT, 0)
        > settings.REAUTHENTICATION_AFTER.total_seconds()
    ):
        logout(request)
        return HttpResponseRedirect(f"{reverse('admin:login')}?next={request.path}")
    if request.method == "POST" and not factors.any:
        try:
            _same_secret(request, user)
            context["recovery_codes"] = mfa.confirm_totp(user, request.POST.get("code", "")[:20], now=now)
            request.session[PROVED] = "totp"
            factors = factors_of(user.pk)
        except DomainError as refusal:
            context["error"] = refusal.message
    if not factors.any:
        secret = Totp.objects.get(user=user).secret if "error" in context else mfa.begin_totp(user)
        request.session[BEGUN] = _digest(secret)
        context["secret"] = secret
        # Our own drawing.
        context["qr_svg"] = mark_safe(qr_svg(mfa.provisioning_uri(user, secret)))  # noqa: S308
    return TemplateResponse(
        request,
        "admin/second_factor.html",
        {**context, "factors": factors},
        headers={"Cache-Control": "no-store"},
    )


def _same_secret(request: HttpRequest, user: User) -> None:
    """Raise CodeRefused when the secret that waits is not the one that this browser was shown."""
    begun = Totp.objects.filter(user=user).first()
    if begun is None or request.session.get(BEGUN) != _digest(begun.secret):
        mfa.begin_totp(user)
        raise CodeRefused


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def note_sign_in(*, request: HttpRequest, user: User, **_: Any) -> None:
    method = getattr(user, "proved_by", "")
    request.session[PROVED] = method
    request.session[PROVED_AT] = timezone.now().timestamp()
    record("admin.signed_in", actor=actors.staff(user), subject=user, method=method or "password")


def note_sign_out(*, request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        record("admin.signed_out", actor=actors.staff(user), subject=user)


def install(site: PlatformAdminSite, *, password_form: type[AdminPasswordChangeForm]) -> None:
    """Give the admin this door."""
    site.login_form = SignInForm  # type: ignore[assignment]
    site.password_change_form = password_form  # type: ignore[assignment]
    site.before_page = barrier
    site.after_login = welcome
    site.extra_urls = [
        path(
            "second-factor/",
            site.admin_view(lambda request: second_factor(site, request)),
            name="second_factor",
        )
    ]
    user_logged_in.connect(note_sign_in)
    user_logged_out.connect(note_sign_out)
