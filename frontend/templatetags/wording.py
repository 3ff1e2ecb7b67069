"""Names of programs as people read them: `{% load wording %}`."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def words(name: object) -> str:
    """`span_reward_model` is "span reward model"; `reward_model|span_reward_model` has an "or" between them."""
    return str(name).replace("_", " ").replace("|", " or ")
