"""Which answers are given to others: those that are the same for everyone, and no other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster
from tests.waiting import until
from web import databases
from web.cache import dependencies
from web.responses import etag_response


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


def of_the_moment(_response: Response) -> None:
    databases.uncached_reader(Cluster.PRODUCTION).run_span()


def answers(app: Flask, client: FlaskClient, change: Callable[[Response], None]) -> list[str]:
    """What two visitors get of a kept view that counts its answers."""
    counted = count()

    @app.get("/counted")
    @dependencies.cached_view
    def counted_view() -> Response:
        response = etag_response(f"answer {next(counted)}")
        change(response)
        return response

    return [client.get("/counted").text for _ in range(2)]


def test_it_gives_what_is_for_everyone_to_the_next(app: Flask, client: FlaskClient) -> None:
    assert answers(app, client, lambda _response: None) == ["answer 0", "answer 0"]


@pytest.mark.parametrize(
    "change", [of_one_visitor, by_cookie, by_address, without_tag, of_failure, of_the_moment]
)
def test_it_makes_everything_else_for_each(
    app: Flask, client: FlaskClient, change: Callable[[Response], None]
) -> None:
    assert answers(app, client, change) == ["answer 0", "answer 1"]


def test_it_gives_nobody_what_is_another_s_who_asks_at_the_same_moment(app: Flask) -> None:
    counted, go_on = count(), Event()
    come: list[str] = []
    application = app.wsgi_app

    def let_in(environ: Any, start_response: Any) -> Any:
        come.append(environ["PATH_INFO"])
        return application(environ, start_response)

    @app.get("/counted")
    @dependencies.cached_view
    def counted_view() -> Response:
        go_on.wait(10)
        response = etag_response(f"answer {next(counted)}")
        of_one_visitor(response)
        return response

    app.wsgi_app = let_in  # type: ignore[method-assign]
    with ThreadPoolExecutor(4) as crowd:
        answers = [crowd.submit(lambda: app.test_client().get("/counted").text) for _ in range(4)]
        until(lambda: len(come) == 4)
        go_on.set()
        assert {answer.result(10) for answer in answers} == {f"answer {number}" for number in range(4)}
