"""What a product sends, as it comes in; and how it is taken in."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import live, live_arrivals, live_rates, live_settings, live_users

urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/live/", live.newest, name="live"),
    path("p/<slug:slug>/live/news/", live.news, name="live_news"),
    path("p/<slug:slug>/live/rates/", live_rates.live_rates, name="live_rates"),
    path("p/<slug:slug>/live/send/", live.send, name="live_send"),
    path("p/<slug:slug>/live/answers/<uuid:pk>/", live.answer, name="live_answer"),
    path("p/<slug:slug>/live/arrivals/", live_arrivals.live_arrivals, name="live_arrivals"),
    path("p/<slug:slug>/live/users/", live_users.users, name="live_users"),
    path("p/<slug:slug>/live/users/<uuid:pk>/", live_users.user, name="live_user"),
    path("p/<slug:slug>/live/users/<uuid:pk>/decision/", live_users.decision, name="live_user_decision"),
    path("p/<slug:slug>/live/settings/", live_settings.live_settings, name="live_settings"),
    path("p/<slug:slug>/live/settings/kinds/", live_settings.make_kind, name="reaction_kinds"),
    path("p/<slug:slug>/live/settings/kinds/<slug:key>/", live_settings.alter_kind, name="reaction_kind"),
]
