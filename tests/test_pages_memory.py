"""Rendering a page leaves no reference cycles: its objects are freed without the garbage collector."""

import gc
from collections import Counter

import pytest
from flask.testing import FlaskClient

from tests.mirrored_cluster import MirroredCluster, write_run

RUN = 358_791


def count_own_objects() -> int:
    """Number of live objects of the project's types, without those that are frozen."""
    by_type = Counter(map(type, gc.get_objects()))
    return sum(by_type[kind] for kind in by_type if str(kind.__module__).startswith(("storage.", "web.")))


@pytest.fixture
def pages(mirrored: MirroredCluster) -> list[str]:
    """URLs of all kinds of pages of a run."""
    mirrored.beat()
    a_job = write_run(mirrored, RUN)[0].document.identity
    return [
        "/",
        "/live/run",
        "/timeline/",
        f"/timeline/cell?run={RUN}&client=beam",
        "/cluster/",
        f"/job/{a_job}",
    ]


def test_it_frees_all_objects_of_a_page(client: FlaskClient, pages: list[str]) -> None:
    # The million objects of other tests need not be counted.
    gc.freeze()
    assert {client.get(path).status_code for path in pages} == {200}
    gc.collect()
    gc.disable()
    try:
        for path in pages:
            before = count_own_objects()
            client.get(path)
            assert count_own_objects() == before, path
    finally:
        gc.enable()
