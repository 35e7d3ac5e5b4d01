"""What a page is made of is free as soon as it is made: none of it refers to itself."""

import gc

import pytest
from flask.testing import FlaskClient

from tests.mirrored import MirroredCluster, lively_run

RUN = 358_791


def objects_of_the_mirror() -> int:
    """How many objects there are of the mirror's own types."""
    return sum(str(type(it).__module__).startswith(("mirror.", "web.")) for it in gc.get_objects())


@pytest.fixture
def pages(mirrored: MirroredCluster) -> list[str]:
    """The pages of a run, each with all that it shows."""
    mirrored.beat()
    a_job = lively_run(mirrored, RUN)[0].document.identity
    return [
        "/",
        "/live/run",
        "/timeline/",
        f"/timeline/cell?run={RUN}&client=beam",
        "/cluster/",
        f"/job/{a_job}",
    ]


def test_it_leaves_nothing_of_a_page_behind(client: FlaskClient, pages: list[str]) -> None:
    answers = [client.get(path).status_code for path in pages]
    assert answers == [200] * len(pages)
    gc.collect()
    gc.disable()
    try:
        for path in pages:
            before = objects_of_the_mirror()
            client.get(path)
            assert objects_of_the_mirror() == before, path
    finally:
        gc.enable()
