"""Each error, as a page, as htmx's fragment, and as a problem."""

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import OperationalError
from django.http import Http404, HttpRequest
from django.test import RequestFactory
from django.urls import path
from django.views.decorators.http import require_POST
from rest_framework import serializers
from rest_framework.decorators import api_view, parser_classes
from rest_framework.exceptions import NotAuthenticated, Throttled
from rest_framework.parsers import JSONParser

from redpen.accounts import errors
from redpen.accounts.problems import translate
from redpen.urls import handler400, handler403, handler404, handler500  # noqa: F401 - this module is a URL conf too
from redpen.urls import urlpatterns as all_urls

RAISED = {
    "conflict": lambda: errors.Conflict("Somebody was faster.", code="record.changed", data={"version": 3}),
    "missing": lambda: Http404("no"),
    "denied": lambda: PermissionDenied("no"),
    "down": lambda: OperationalError("connection refused at 10.1.2.3"),
    "busy": lambda: errors.TooMany("Slower.", retry_after=7),
    "large": lambda: RequestDataTooBig("no"),
    "bug": lambda: ZeroDivisionError("division by zero"),
    "signed-out": lambda: errors.NotSignedIn("Sign in."),
    "throttled": lambda: Throttled(wait=9),
    "unknown": lambda: NotAuthenticated(),
}


def raising(request, kind):
    raise RAISED[kind]()


@require_POST
def posting(request):
    raise AssertionError


class Body(serializers.Serializer):
    name = serializers.CharField(max_length=3)
    items = serializers.ListField(child=serializers.IntegerField())


@api_view(["POST"])
@parser_classes([JSONParser])
def validating(request):
    Body(data=request.data).is_valid(raise_exception=True)


@api_view(["GET"])
def raising_api(request, kind):
    raise RAISED[kind]()


urlpatterns = [
    path("page/<str:kind>/", raising),
    path("posting/", posting),
    path("api/v1/test/validate", validating),
    path("api/v1/test/<str:kind>", raising_api),
    *all_urls,
]
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
STATUS = {"conflict": 409, "missing": 404, "denied": 403, "down": 503, "busy": 429, "large": 413, "bug": 500}


@pytest.fixture
def client(client):
    client.raise_request_exception = False
    client.force_login(get_user_model().objects.create_user("ada@example.org", "x", name="Ada"))
    return client


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_a_page_gets_a_page(client, kind, status):
    answer = client.get(f"/page/{kind}/")
    assert answer.status_code == status
    assert answer["Content-Type"].startswith("text/html")
    assert "<!doctype html>" in answer.text
    assert "10.1.2.3" not in answer.text
    assert "division" not in answer.text


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_htmx_gets_a_fragment_for_the_toasts(client, kind, status):
    answer = client.get(f"/page/{kind}/", headers={"HX-Request": "true"})
    assert answer.status_code == status
    assert "<html" not in answer.text
    assert 'class="notice bad"' in answer.text
    assert "HX-Request" in answer["Vary"]


@pytest.mark.parametrize(
    ("kind", "status"), [*STATUS.items(), ("unknown", 401), ("signed-out", 401), ("throttled", 429)]
)
def test_the_api_gets_a_problem(client, kind, status):
    answer = client.get(f"/api/v1/test/{kind}")
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    body = answer.json()
    assert body["status"] == status
    assert set(body) >= {"title", "status", "code", "detail"}
    assert "10.1.2.3" not in answer.text


def test_retry_after_is_said_in_the_header(client):
    assert client.get("/api/v1/test/busy")["Retry-After"] == "7"
    assert client.get("/page/down/")["Retry-After"] == "5"
    assert client.get("/api/v1/test/throttled")["Retry-After"] == "9"


def test_an_error_of_ours_keeps_its_code_and_data(client):
    body = client.get("/api/v1/test/conflict").json()
    assert (body["code"], body["data"], body["detail"]) == ("record.changed", {"version": 3}, "Somebody was faster.")


def test_a_boosted_link_gets_the_whole_page(client):
    answer = client.get("/page/conflict/", headers={"HX-Request": "true", "HX-Boosted": "true"})
    assert "<!doctype html>" in answer.text


def test_signing_in_is_asked_for_in_each_way(client):
    assert client.get("/page/signed-out/").url == "/sign-in/?next=%2Fpage%2Fsigned-out%2F"
    here = {"HX-Request": "true", "HX-Current-URL": "http://testserver/p/x/?a=1"}
    answer = client.post("/page/signed-out/", headers=here)
    assert (answer.status_code, answer["HX-Redirect"]) == (401, "/sign-in/?next=%2Fp%2Fx%2F%3Fa%3D1")
    answer = client.post("/page/signed-out/", headers={"Referer": "http://testserver/p/x/"})
    assert answer.url == "/sign-in/?next=%2Fp%2Fx%2F"
    answer = client.post("/page/signed-out/", headers={"Referer": "http://evil.example/p/x/"})
    assert answer.url == "/sign-in/?next=%2F"


def test_an_address_that_is_nowhere_is_a_404_in_each_way(client):
    assert "<!doctype html>" in client.get("/nowhere/").text
    assert client.get("/api/v1/nowhere").json()["code"] == "not_found"
    assert client.get("/nowhere/", headers={"Accept": "application/json"}).json()["status"] == 404


def test_the_wrong_method_says_which_is_right(client):
    answer = client.get("/posting/")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert "takes POST, not GET" in answer.text
    answer = client.get("/api/v1/test/validate")
    assert (answer.status_code, answer.json()["code"]) == (405, "request.wrong_method")
    assert "POST" in answer["Allow"]


def test_what_a_serializer_refuses_has_pointers(client):
    answer = client.post("/api/v1/test/validate", {"name": "long", "items": [1, "x"]}, content_type="application/json")
    assert answer.status_code == 422
    assert {problem["pointer"] for problem in answer.json()["problems"]} == {"/name", "/items/1"}


def test_what_is_no_json_is_a_400_and_no_known_kind_a_415(client):
    answer = client.post("/api/v1/test/validate", "{", content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "request.not_readable")
    answer = client.post("/api/v1/test/validate", "x", content_type="text/csv")
    assert (answer.status_code, answer.json()["code"]) == (415, "request.wrong_media_type")


def test_a_form_without_its_token_is_a_403_that_says_what_to_do(cast):
    client = cast.client(cast.ada, enforce_csrf_checks=True)
    answer = client.post("/account/name/", {"name": "x"})
    assert answer.status_code == 403
    assert "reload the page" in answer.text
    answer = client.post("/api/v1/test/validate", {}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "auth.csrf")


def test_the_page_for_a_broken_database_asks_it_nothing(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        from redpen.accounts.middleware import error_response

        request: HttpRequest = RequestFactory().get("/p/x/")
        assert error_response(request, errors.Unavailable("Later.")).status_code == 503


def test_a_fault_of_ours_is_translated_to_nothing():
    assert translate(ValueError("x")) is None
