"""Output of templates is escaped as by markupsafe, whatever its type and wherever it is put out."""

from enum import StrEnum
from typing import Any

import pytest
from jinja2 import DictLoader, Environment
from markupsafe import Markup, escape

from web.pages import template_code


class State(StrEnum):
    """An enumeration whose text needs escaping."""

    ODD = "<odd>"


class Link:
    """An object with HTML of its own."""

    def __html__(self) -> str:
        return "<a>"

    def __repr__(self) -> str:
        return "a link"


class Name(str):
    """A text with another form when it is shown."""

    def __str__(self) -> str:
        return "<name>"


VALUES = (
    *("", "plain", "a & b", "<script>", "x > y", 'the "quoted"', "it's", "é²\n"),
    *(0, -5, 10**20, True, 2.5, None, b"<", ["<", "'"]),
    *(Markup("<b>"), State.ODD, Link(), Name("plain")),
)
# Constructs of templates, each of which puts out `value` in its own way.
TEMPLATES = {
    "alone": "{{ value }}",
    "between text": "<p>{{ value }}</p>",
    "macro": "{% macro shown(it) %}<i>{{ it }}</i>{% endmacro %}{{ shown(value) }}",
    "call": "{% macro box() %}[{{ caller() }}]{% endmacro %}{% call box() %}{{ value }}{% endcall %}",
    "block set": "{% set text %}<u>{{ value }}</u>{% endset %}{{ text }}",
    "filtered block": "{% filter trim %} {{ value }} {% endfilter %}",
    "loop": "{% for it in [value, value] %}{{ it }}{% endfor %}",
    "included": "{% include 'part' %}",
    "inherited": "{% extends 'base' %}{% block main %}{{ value }}{% endblock %}",
    "concatenated": "{{ value ~ '<br>' }}",
}
SHARED = {"part": "<s>{{ value }}</s>", "base": "<main>{% block main %}{% endblock %}</main>"}


def environment() -> Environment:
    return Environment(autoescape=True, loader=DictLoader({**SHARED, **TEMPLATES}))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_escaped_as_by_markupsafe(value: Any) -> None:
    assert template_code.escape(value) == escape(value)


@pytest.mark.parametrize("construct", TEMPLATES)
def test_templates_put_out_what_they_do_with_markupsafe(construct: str) -> None:
    ours, plain = environment(), environment()
    template_code.use_in(ours)
    for value in VALUES:
        expected = plain.get_template(construct).render(value=value)
        assert ours.get_template(construct).render(value=value) == expected


def test_templates_use_it() -> None:
    ours = environment()
    template_code.use_in(ours)
    assert ours.get_template("alone").root_render_func.__globals__["escape"] is template_code.escape
