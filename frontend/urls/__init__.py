"""Every page, one file a subject."""

from frontend.urls import accounts, data, home, label, training, webhooks

urlpatterns = [
    *home.urlpatterns,
    *accounts.urlpatterns,
    *label.urlpatterns,
    *data.urlpatterns,
    *training.urlpatterns,
    *webhooks.urlpatterns,
]
