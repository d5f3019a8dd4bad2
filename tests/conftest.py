"""What all tests share: an environment of their own, one Ray session, and the toy pipeline."""

import importlib
import shutil
import uuid

import pytest

from tests.environment import FOLDER
from tests.toy import Toy

NUM_CPUS = 2


def pytest_unconfigure(config):
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_session():
    """The one Ray session of all tests in this process; a RayBackend joins it."""
    ray = importlib.import_module("ray")  # not before it is needed: it takes a second
    ray.init(
        address="local",
        num_cpus=NUM_CPUS,
        num_gpus=0,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        logging_level="ERROR",
        configure_logging=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(params=["inline", "ray"])
def backend(request):
    """The name of each backend in turn, ready to be opened."""
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return request.param


@pytest.fixture
def ray_backend(ray_session):
    """The name of the backend whose workers may die."""
    return "ray"


@pytest.fixture
def toy(tmp_path):
    """Sweeps of the toy pipeline that share a store and nothing with any other test."""
    return Toy(store=tmp_path / "store", tag=uuid.uuid4().hex[:12])
