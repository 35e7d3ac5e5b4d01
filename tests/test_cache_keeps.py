"""Which answers are given to others: those that are the same for everyone, and no other."""

from collections.abc import Callable
from itertools import count

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from web.answers import conditional
from web.keeping import grounds


def of_one_visitor(response: Response) -> None:
    response.set_cookie("visitor", "1")


def by_cookie(response: Response) -> None:
    response.vary.add("Cookie")


def by_address(response: Response) -> None:
    response.vary.update(("Accept-Encoding", "X-Forwarded-For"))


def without_tag(response: Response) -> None:
    del response.headers["ETag"]


def of_failure(response: Response) -> None:
    response.status_code = 500


def answers(app: Flask, client: FlaskClient, change: Callable[[Response], None]) -> list[str]:
    """What two visitors get of a kept view that counts its answers."""
    counted = count()

    @app.get("/counted")
    @grounds.kept
    def counted_view() -> Response:
        response = conditional(f"answer {next(counted)}")
        change(response)
        return response

    return [client.get("/counted").text for _ in range(2)]


def test_it_gives_what_is_for_everyone_to_the_next(app: Flask, client: FlaskClient) -> None:
    assert answers(app, client, lambda _response: None) == ["answer 0", "answer 0"]


@pytest.mark.parametrize("change", [of_one_visitor, by_cookie, by_address, without_tag, of_failure])
def test_it_makes_everything_else_for_each(
    app: Flask, client: FlaskClient, change: Callable[[Response], None]
) -> None:
    assert answers(app, client, change) == ["answer 0", "answer 1"]
