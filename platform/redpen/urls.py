"""Every URL: pages at the root, the API under /api/v1/, health, and the admin site for support staff."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from redpen.ops.views import readyz

urlpatterns = [
    path("readyz", readyz, name="readyz"),
    path("api/v1/", include("redpen.accounts.api.urls")),
    path("support/", admin.site.urls),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="api-schema"),
]
handler400 = "redpen.accounts.middleware.bad_request"
handler403 = "redpen.accounts.middleware.forbidden"
handler404 = "redpen.accounts.middleware.not_found"
handler500 = "redpen.accounts.middleware.broken"
for module, prefix in [("annotation.api.urls", "api/v1/"), ("training.api.urls", "api/v1/"), ("frontend.urls", "")]:
    # the apps are being written; once all three are there this becomes plain
    parent = module.rpartition(".")[0]
    if find_spec(parent) and find_spec(module):
        urlpatterns.append(path(prefix, include(module)))
