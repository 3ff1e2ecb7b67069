"""What the role may see: `{% load rules %}`, `{% if request.role|may:"training.see" %}`, and the bar of pages."""

from __future__ import annotations

from dataclasses import dataclass

from django import template
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from redpen.accounts import rules

register = template.Library()

# The bar of a project's pages, in order: title, the page's URL name, the action that it takes.
PAGES = [
    ("Home", "project", "project.see"),
    ("Label", "label", "label"),
    ("Compare", "pair", "label"),
    ("Data", "data", "records.see_own"),
    ("Live", "live", "records.see"),
    ("Train", "train", "training.run"),
    ("Runs", "runs", "training.see"),
    ("Models", "models", "models.see"),
    ("Bench", "comparisons", "training.see"),
]
MENU = [
    ("Import", "import", "records.import"),
    ("Members", "members", "members.see"),
    ("Audit trail", "audit", "audit.see"),
    ("API keys", "keys", "keys.see"),
    ("What came in", "live_arrivals", "intake.see"),
    ("Live settings", "live_settings", "intake.see"),
    ("Privacy", "privacy", "privacy.erase"),
    ("Webhooks", "webhooks", "webhooks.see"),
    ("Project settings", "project_settings", "project.change"),
]


@dataclass(frozen=True)
class NavItem:
    title: str
    url: str
    current: bool
    below: bool = False  # the open page is one of those below it


@register.filter
def may(role: str | None, action: str) -> bool:
    """`{% if request.role|may:"label" %}`; an action that nobody listed raises KeyError."""
    return rules.may(role, action)


@register.simple_tag
def project_pages(request: HttpRequest) -> list[NavItem]:
    """The pages of the open project that this role may see; none outside a project."""
    return _items(request, PAGES)


@register.simple_tag
def project_menu(request: HttpRequest) -> list[NavItem]:
    """The rarer pages of the open project."""
    return _items(request, MENU)


def _items(request: HttpRequest, pages: list[tuple[str, str, str]]) -> list[NavItem]:
    project = getattr(request, "project", None)
    if project is None:
        return []
    here = request.resolver_match.url_name if request.resolver_match else ""
    items = []
    for title, name, action in pages:
        if not rules.may(request.role, action):
            continue
        try:
            url = reverse(name, args=[project.slug])
            items.append(NavItem(title, url, name == here, below=name != "project" and request.path.startswith(url)))
        except NoReverseMatch:  # a page that is not there yet
            continue
    return items
