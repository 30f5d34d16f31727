"""The URLs of the application host.

Requests for published sites do not reach Django: `sites.serving.site_server` answers them first.
"""

from django.contrib import admin
from django.urls import include, path

from accounts.views.pages import account_page, data_export_page, provider_page
from analytics.sharing.pages import shared_dashboard_page, unsubscribe_page
from sites.views.pages import invitation_page
from vault.web_page import vault_page

urlpatterns = [
    path("", include("core.urls")),
    path("api/v1/", include("audit.urls")),
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("sites.urls")),
    path("api/v1/", include("vault.urls")),
    path("api/v1/", include("analytics.urls")),
    path("api/v1/", include("backups.urls")),
    path("account/invitation", invitation_page),
    path("account/data-export", data_export_page),
    path("account/oidc/<slug:provider>", provider_page),
    path("account/<slug:page>", account_page),
    path("vault/", vault_page),
    path("shared/stop/<str:token>", unsubscribe_page),
    path("shared/<str:token>", shared_dashboard_page),
    path("admin/", admin.site.urls),
]
handler400 = "core.http.exceptions.bad_request"
handler403 = "core.http.exceptions.forbidden"
handler404 = "core.http.exceptions.not_found"
handler500 = "core.http.exceptions.server_error"
