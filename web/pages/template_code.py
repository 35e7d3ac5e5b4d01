"""Code of the compiled templates: a value without special characters is put out as it is.

A page has a thousand values and more. markupsafe makes an object of each, which keeps it from being escaped
again and takes twice as long. What a template puts out is only joined.
"""

import re

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator, Frame
from markupsafe import Markup
from markupsafe import escape as escape_markup

_find_special = re.compile("[&<>\"']").search


class TemplateCode(CodeGenerator):
    """Jinja's code generator, with this module's `escape` in place of markupsafe's."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:  # noqa: N802
        """Generate the code of a template."""
        super().visit_Template(node, frame)
        self.writeline(f"from {__name__} import {escape.__name__}")


def use_in(environment: Environment) -> None:
    """Compile the environment's templates by this module."""
    environment.code_generator_class = TemplateCode


def escape(value: object) -> str:
    """A value as HTML, to be put out or into a longer text: it would be escaped again."""
    if isinstance(value, str):
        # A subclass, such as the name of a state, may have a text of its own.
        if type(value) is Markup or (type(value) is str and _find_special(value) is None):
            return value
    elif type(value) is int:
        return str(value)
    return escape_markup(value)
