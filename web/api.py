"""`/api?what=…`: the interface that scripts at CERN use, its addresses and shapes as they were."""

from flask import Blueprint

room = Blueprint("api", __name__)
