"""The mirror's pages."""

from flask import Blueprint

room = Blueprint("pages", __name__)
