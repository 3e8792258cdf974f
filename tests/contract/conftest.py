"""Servers that have not run anything yet, and one that has."""

import contextlib

import pytest

from tests.conftest import host_path
from tests.contract.road import Road, graph


@pytest.fixture(scope="session")
def start(start_server, tmp_path_factory):
    """`with start() as road`: a server of its own."""

    @contextlib.contextmanager
    def run():
        with start_server(host_path()) as server:
            yield Road(server, tmp_path_factory.mktemp("made"))

    return run


@pytest.fixture(scope="session")
def alone(start):
    """alone(model) -> what its graph gives as the first one on a fresh server."""
    made = {}

    def run(model):
        if model not in made:
            with start() as road:
                made[model] = road.make(graph(model))
        return made[model]

    return run


@pytest.fixture(scope="session")
def road(start):
    """A server of the contract's tests, whose first graph was `nano`'s."""
    with start() as running:
        running.first = running.make(graph())
        yield running
