"""Records with filters, imports and exports."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import data, data_imports

urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/data/", data.listing, name="data"),
    path("p/<slug:slug>/data/<uuid:lineage>/", data.record, name="record"),
    path("p/<slug:slug>/ask/", data.ask, name="ask"),
    path("p/<slug:slug>/answers/<uuid:pk>/", data.answer, name="answer"),
    path("p/<slug:slug>/export/", data.export, name="export"),
    path("p/<slug:slug>/import/", data_imports.page, name="import"),
    path("p/<slug:slug>/import/<uuid:pk>/", data_imports.job, name="import_job"),
    path("p/<slug:slug>/import/<uuid:pk>/again/", data_imports.again, name="import_again"),
]
