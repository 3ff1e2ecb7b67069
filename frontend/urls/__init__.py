"""Every page, one file a subject."""

from frontend.urls import accounts, api_docs, data, home, label, live, privacy, training, webhooks

urlpatterns = [
    *home.urlpatterns,
    *accounts.urlpatterns,
    *api_docs.urlpatterns,
    *label.urlpatterns,
    *data.urlpatterns,
    *live.urlpatterns,
    *privacy.urlpatterns,
    *training.urlpatterns,
    *webhooks.urlpatterns,
]
