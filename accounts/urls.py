from accounts.views.api_keys import ApiKeyViewSet
from accounts.views.data_exports import ArchiveViewSet, ExportViewSet
from accounts.views.identities import IdentityViewSet, OidcViewSet
from accounts.views.me import MeViewSet, SessionViewSet
from accounts.views.mfa import FactorViewSet, PasskeyViewSet
from accounts.views.sign_in import ConfigViewSet, MailboxViewSet, SignInViewSet
from accounts.views.users import RoleViewSet, UserViewSet
from core.http.routes import route

urlpatterns = [
    route("config", ConfigViewSet, get="retrieve"),
    route("auth/register", SignInViewSet, post="register"),
    route("auth/prelogin", SignInViewSet, post="prelogin"),
    route("auth/login", SignInViewSet, post="login"),
    route("auth/login/passkey", SignInViewSet, post="passkey_sign_in"),
    route("auth/login/passkey/options", SignInViewSet, post="passkey_options"),
    route("auth/login/oidc/<slug:provider>/options", OidcViewSet, post="begin"),
    route("auth/login/oidc/<slug:provider>", OidcViewSet, post="finish"),
    route("auth/impersonate", SignInViewSet, post="impersonate"),
    route("auth/restore", MailboxViewSet, post="restore"),
    route("auth/mfa/verify", SignInViewSet, post="verify_mfa"),
    route("auth/refresh", SignInViewSet, post="refresh"),
    route("auth/logout", SignInViewSet, post="logout"),
    route("auth/logout-all", MeViewSet, post="logout_all"),
    route("auth/email/verify", MailboxViewSet, post="verify"),
    route("auth/email/resend", MailboxViewSet, post="resend"),
    route("auth/email/change", MeViewSet, post="change_email"),
    route("auth/password/forgot", MailboxViewSet, post="forgot"),
    route("auth/password/reset", MailboxViewSet, post="reset"),
    route("auth/password/change", MeViewSet, post="change_password"),
    route("auth/me", MeViewSet, get="retrieve", patch="partial_update", delete="destroy"),
    route("auth/me/usage", MeViewSet, get="usage"),
    route("auth/me/export", ExportViewSet, get="retrieve", post="create"),
    route("exports/<str:token>", ArchiveViewSet, get="retrieve"),
    route("auth/identities", IdentityViewSet, get="list"),
    route("auth/identities/<uuid:pk>", IdentityViewSet, delete="destroy"),
    route("auth/providers/<slug:provider>/options", IdentityViewSet, post="begin"),
    route("auth/providers/<slug:provider>", IdentityViewSet, post="create"),
    route("auth/sessions", SessionViewSet, get="list"),
    route("auth/sessions/<uuid:pk>", SessionViewSet, delete="destroy"),
    route("auth/reauthenticate", MeViewSet, post="reauthenticate"),
    route("auth/reauthenticate/passkey/options", MeViewSet, post="passkey_options"),
    route("auth/mfa", FactorViewSet, get="retrieve"),
    route("auth/totp", FactorViewSet, post="begin_totp", delete="remove_totp"),
    route("auth/totp/confirm", FactorViewSet, post="confirm_totp"),
    route("auth/recovery-codes", FactorViewSet, post="recovery_codes"),
    route("auth/passkeys", PasskeyViewSet, get="list", post="create"),
    route("auth/passkeys/options", PasskeyViewSet, post="begin"),
    route("auth/passkeys/<uuid:pk>", PasskeyViewSet, patch="partial_update", delete="destroy"),
    route("users", UserViewSet, get="list", post="create"),
    route(
        "users/<uuid:pk>", UserViewSet, get="retrieve", put="update", patch="partial_update", delete="destroy"
    ),
    route("users/<uuid:pk>/roles", UserViewSet, put="roles"),
    route("roles", RoleViewSet, get="list", post="create"),
    route("roles/<uuid:pk>", RoleViewSet, get="retrieve", put="update", delete="destroy"),
    route("permissions", RoleViewSet, get="permissions"),
    route("api-keys", ApiKeyViewSet, get="list", post="create"),
    route("api-keys/<uuid:pk>", ApiKeyViewSet, delete="destroy"),
]
