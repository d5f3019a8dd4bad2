"""What the tests of whole runs share: the tracking stores, opened once a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.tracking_places import BACKENDS, Place, Places


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """The tracking stores of all tests in this process."""
    with ExitStack() as stack:
        yield Places(tmp_path_factory.mktemp("tracking"), stack)


@pytest.fixture(params=BACKENDS)
def place(request: pytest.FixtureRequest, places: Places) -> Place:
    """A tracking store of each kind in turn; another test may have written to it."""
    return places.get(request.param)


@pytest.fixture
def postgres_uri(places: Places) -> str:
    """The URI of a database in PostgreSQL that holds nothing, reached without a server."""
    return places.postgres.new_database()
