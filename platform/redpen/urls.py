"""Every URL: pages at the root, the API under /api/v1/, health, and the admin site for support staff."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from redpen.ops.views import readyz

urlpatterns = [
    path("readyz", readyz, name="readyz"),
    path("support/", admin.site.urls),
    path("api/v1/", include("redpen.accounts.api.urls")),
    path("api/v1/", include("annotation.api.urls")),
    path("api/v1/", include("annotation.api.keyed_urls")),
    path("api/v1/", include("training.api.urls")),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("", include("frontend.urls")),
]
handler400 = "redpen.accounts.middleware.bad_request"
handler403 = "redpen.accounts.middleware.forbidden"
handler404 = "redpen.accounts.middleware.not_found"
handler500 = "redpen.accounts.middleware.broken"
