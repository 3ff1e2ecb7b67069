"""Every page, one file a subject."""

from frontend.urls import accounts, data, home, label, live, training, webhooks

urlpatterns = [
    *home.urlpatterns,
    *accounts.urlpatterns,
    *label.urlpatterns,
    *data.urlpatterns,
    *live.urlpatterns,
    *training.urlpatterns,
    *webhooks.urlpatterns,
]
