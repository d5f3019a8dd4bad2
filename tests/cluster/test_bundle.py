"""Code and files as one zip: the same everywhere, checked before it is unpacked."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import cluster.bootstrap
from cluster.bootstrap import unpack
from cluster.bundle import Bundle, package_files
from cluster.store import Store

FILES = {"pack/__init__.py": b"VALUE = 3\n", "sweep/a.yaml": b"name: a\n"}


def test_equal_files_give_equal_bytes():
    other = Bundle(files=dict(reversed(FILES.items())))
    assert other.content == Bundle(files=FILES).content
    assert other.digest == hashlib.sha256(other.content).hexdigest()


def test_other_content_is_another_bundle():
    assert (
        Bundle(files={**FILES, "sweep/a.yaml": b"name: b\n"}).digest != Bundle(files=FILES).digest
    )


@pytest.mark.parametrize("place", ["file", "s3"])
def test_pods_fetch_and_unpack_it(place, tmp_path, request):
    bundle = Bundle(files=FILES)
    if place == "file":
        source = str(tmp_path / "bundle.zip")
        Path(source).write_bytes(bundle.content)
    else:
        location = request.getfixturevalue("s3_location")
        Store(location).write_bytes("bundles/x.zip", bundle.content)
        source = location.replace("?", "/bundles/x.zip?")
    folder = tmp_path / "fanflare" / "bundle"
    text = Path(cluster.bootstrap.__file__).read_text()
    for _ in range(2):  # a container that is started again finds it there
        subprocess.run(
            [sys.executable, "-c", text, source, bundle.digest, str(folder)],
            check=True,
            timeout=60,
            cwd=tmp_path,
        )
    assert {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    } == FILES


def test_what_is_not_what_was_sent_is_not_unpacked(tmp_path):
    with pytest.raises(ValueError, match="digest"):
        unpack(Bundle(files=FILES).content, "0" * 64, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_packages_come_as_they_are_imported():
    found = package_files(["cluster"])
    assert found["cluster/bundle.py"] == Path(sys.modules["cluster.bundle"].__file__).read_bytes()
    assert not any("__pycache__" in name for name in found)
    with pytest.raises(ModuleNotFoundError, match="no package 'clusters'"):
        package_files(["clusters"])
