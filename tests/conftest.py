"""What all tests share: an environment of their own, one Ray session, and the toy pipeline."""

import importlib
import os
import shutil
import subprocess
import uuid

import pytest

from tests.environment import FOLDER
from tests.servers import free_port
from tests.toy import Toy

NUM_CPUS = 2
BUCKET = "toys"


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


@pytest.fixture(scope="session")
def s3_endpoint():
    """A small S3 server on loopback."""
    moto = pytest.importorskip("moto.server", reason="the S3 store needs moto[s3,server]")
    boto3 = pytest.importorskip("boto3")
    port = free_port()
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="toy",
        aws_secret_access_key="toy-secret",
    )
    client.create_bucket(Bucket=BUCKET)
    yield f"127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def s3_location(s3_endpoint):
    """The location of an empty store on S3."""
    return (
        f"s3://toy:toy-secret@{BUCKET}/{uuid.uuid4().hex}"
        f"?scheme=http&endpoint_override={s3_endpoint}&region=us-east-1"
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or not mount or not unmount:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield tmp_path
    subprocess.run([unmount, "-l", str(tmp_path)], timeout=20, check=True)
