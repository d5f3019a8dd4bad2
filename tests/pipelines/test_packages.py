"""Fetching from packages: safely, once, and only the file that was pinned."""

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipelines.contract import InputError
from pipelines.sources import fetch, read, resolve_task
from pipelines.sources.archives import extract
from pipelines.sources.cache import sha256_of

CSV = "text,label\n" + "".join(f"row {i},{'yn'[i % 2]}\n" for i in range(20))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("FANFLARE_CACHE", str(folder))
    return folder


@pytest.fixture
def index(tmp_path, monkeypatch, cache):
    """A folder that pip takes for its only index; holds `tiny-data==1.0`, which bears a CSV."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }.items():
        monkeypatch.setenv(name, value)
    about = "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n"
    with zipfile.ZipFile(folder / "tiny_data-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_data/__init__.py", "raise SystemExit('never imported')")
        wheel.writestr("tiny_data/data/reviews.csv", CSV)
        wheel.writestr("tiny_data/data/more.csv", CSV)
        wheel.writestr("tiny_data-1.0.dist-info/METADATA", about)
        wheel.writestr("tiny_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny_data-1.0.dist-info/RECORD", "")
    return folder


TINY = "pypi:tiny-data==1.0/tiny_data/data/reviews.csv"


def fault(resolve, entry, folder):
    with pytest.raises(InputError) as caught:
        resolve(entry, folder)
    return caught.value


class TestPackages:
    def test_file_is_taken_out_and_nothing_else(self, index, cache):
        task = resolve_task(TINY, index)
        assert (task.name, task.num_rows) == ("reviews", 20)
        files = [path.name for path in fetch(task.source).rglob("*") if path.is_file()]
        assert files == ["reviews.csv"]

    def test_cached_package_is_never_downloaded_again(self, index):
        task = resolve_task(TINY, index)
        shutil.rmtree(index)
        assert resolve_task(TINY, Path()) == task
        other_file = resolve_task(TINY.replace("reviews", "more"), Path())
        assert other_file.digest != task.digest

    def test_interrupted_download_leaves_no_trace(self, index, cache):
        folder = cache / "packages" / "tiny-data-1.0"
        (folder / "partial-x").mkdir(parents=True)
        (folder / "partial-x" / "tiny_data-1.0-py3-none-any.whl").write_bytes(b"half")
        (folder / "tiny_data-1.0-py3-none-any.whl").write_bytes(b"moved, but not yet noted")
        assert len(read(resolve_task(TINY, index))["all"]) == 20
        assert not list(folder.glob("partial-*"))

    def test_two_processes_at_once_share_one_download(self, index, cache):
        program = (
            "import pathlib, pipelines.sources as s;"
            f"print(s.fetch(s.resolve_task({TINY!r}, pathlib.Path()).source))"
        )
        both = [
            subprocess.Popen(
                [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for _ in range(2)
        ]
        outcomes = [process.communicate(timeout=120) for process in both]
        assert outcomes[0][0] == outcomes[1][0] != b"", outcomes
        assert len(list((cache / "packages" / "tiny-data-1.0").glob("files-*"))) == 1

    def test_digest_is_checked_before_use(self, index):
        wrong = "0" * 64
        right = sha256_of(next(index.iterdir()))
        error = fault(resolve_task, {"name": "t", "source": TINY, "digest": wrong}, index)
        assert (error.key, error.nearest) == ("digest", right)
        assert wrong in str(error)
        assert right in str(error)
        assert resolve_task({"name": "t", "source": TINY, "digest": right}, index).num_rows == 20

    def test_file_changed_in_the_cache_is_refused(self, index, cache):
        task = resolve_task(TINY, index)
        with next(cache.rglob("*.whl")).open("ab") as wheel:
            wheel.write(b"x")
        shutil.rmtree(fetch(task.source))
        with pytest.raises(InputError, match="changed after its download"):
            fetch(task.source)

    @pytest.mark.parametrize(
        ("source", "key", "nearest", "words"),
        [
            ("pypi:tiny-data/x.csv", "source", "", "names no version"),
            ("pypi:tiny-data==1.0", "source", "", "which file or folder"),
            ("pypi:==1.0/x", "source", "", "not of the form"),
            ("pypi:tiny-data==9.9/x.csv", "source", "tiny-data==1.0", "there is no tiny-data==9.9"),
            ("pypi:tiny-dota==1.0/x.csv", "source", "", "could not fetch tiny-dota"),
            (
                "pypi:tiny-data==1.0/tiny_data/data/review.csv",
                "source",
                "tiny_data/data/reviews.csv",
                "holds no",
            ),
            ("pypi:tiny-data==1.0/tiny_data/__init__.py", "source", "", "suffixes"),
        ],
    )
    def test_wrong_name_is_explained(self, index, source, key, nearest, words):
        error = fault(resolve_task, source, index)
        assert (error.key, error.nearest) == (key, nearest)
        assert words in str(error)


class TestArchives:
    @staticmethod
    def tar(path, *entries):
        with tarfile.open(path, "w:gz") as archive:
            for entry, content in entries:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return path

    @pytest.mark.parametrize("name", ["top/../../evil.csv", "top//etc/evil.csv", "top/a\\..\\evil"])
    def test_path_traversal_in_a_tar_is_refused(self, tmp_path, name):
        archive = self.tar(tmp_path / "p-1.tar.gz", (tarfile.TarInfo(name), b"x"))
        target = tmp_path / "deep" / "target"
        with pytest.raises(InputError, match="outside of itself"):
            extract(archive, [name.split("/", 1)[1]], target)
        assert not list(tmp_path.rglob("evil*"))

    def test_path_traversal_in_a_zip_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "p.whl", "w") as archive:
            archive.writestr("../evil.csv", "x")
        with pytest.raises(InputError, match="outside of itself"):
            extract(tmp_path / "p.whl", ["../evil.csv"], tmp_path / "target")

    def test_link_is_refused(self, tmp_path):
        link = tarfile.TarInfo("top/data.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive = self.tar(tmp_path / "p-1.tar.gz", (link, b""))
        with pytest.raises(InputError, match="not a plain file"):
            extract(archive, ["data.csv"], tmp_path / "target")

    def test_damaged_archive_is_named(self, tmp_path):
        (tmp_path / "p.whl").write_bytes(b"no zip")
        with pytest.raises(InputError, match=r"p\.whl is not a readable archive"):
            extract(tmp_path / "p.whl", ["x"], tmp_path / "target")

    def test_top_folder_of_an_sdist_is_left_out(self, tmp_path):
        entries = [(tarfile.TarInfo(f"p-1/data/{name}.csv"), b"x") for name in "ab"]
        archive = self.tar(tmp_path / "p-1.tar.gz", *entries, (tarfile.TarInfo("p-1/x.py"), b"x"))
        extract(archive, ["data"], tmp_path / "target")
        names = sorted(path.name for path in (tmp_path / "target").rglob("*.*"))
        assert names == ["a.csv", "b.csv"]
