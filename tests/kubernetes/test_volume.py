"""Results on a claim that this machine does not mount, read through a pod."""

import gzip
import io
import os
import tarfile

import pytest

from cluster.kubernetes import reader_pod as reader_pods
from cluster.kubernetes.api import Api
from cluster.kubernetes.volume import ClaimFiles
from cluster.target import TargetError
from tests.kubernetes.conftest import REAL
from tests.kubernetes.kinds import kind_of
from tests.kubernetes.pod_states import unscheduled
from tests.kubernetes.real import lacks_volume, within
from tests.kubernetes.submissions import STORE, Naps, claim, profile

POD = kind_of("Pod")
NUM_FILES, FILE_BYTES = 40, 25_000


@pytest.fixture
def there(api_server, tmp_path):
    """The folder of the store on the claim."""
    folder = tmp_path / "claim/fanflare"
    folder.mkdir(parents=True)
    api_server.kubelet.claims["results"] = str(folder.parent)
    return folder


@pytest.fixture
def here(tmp_path):
    """A folder of this machine."""
    return tmp_path / "here"


@pytest.fixture
def said():
    """What was told while waiting."""
    return []


@pytest.fixture
def files(there, namespace, kubeconfig, said):
    """The files of the claim, read for a sweep of which no head runs."""
    given = profile(namespace)
    api = Api(given, sleep=Naps())
    claim(api)
    read = ClaimFiles(given, "toy", STORE, said.append, api)
    yield read
    read.close()


def put(folder, names):
    """Write files whose contents cannot be packed."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(FILE_BYTES))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def pods(api_server, namespace):
    return [pod["metadata"]["name"] for pod in api_server.objects.list(POD, namespace)]


def packed(*members):
    """Return a packed tar stream of members and their contents."""
    stream = io.BytesIO()
    outer = gzip.GzipFile(fileobj=stream, mode="wb")
    with outer, tarfile.open(fileobj=outer, mode="w|") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def test_what_is_asked_for_comes_once(files, there, here, api_server):
    names = [f"artifacts/ab/{number}.json" for number in range(NUM_FILES)]
    put(there, [*names, "sweeps/toy/sweep.json", "sweeps/toy/driver.lock", "other/file.json"])
    wanted = ["sweeps/toy/*.json", *names, "artifacts/ab/missing.json", "nothing/*.json"]
    num_bytes = files.bring(wanted, here)
    assert contents(here) == {
        name: (there / name).read_bytes() for name in (*names, "sweeps/toy/sweep.json")
    }
    assert num_bytes == FILE_BYTES * (NUM_FILES + 1)
    assert len(api_server.kubelet.executed) == 1

    assert files.bring(wanted, here) == 0
    put(there, names[:1])
    os.utime(there / names[0], (1e9, 1e9))
    (there / names[1]).unlink()
    assert files.bring(wanted, here) == FILE_BYTES
    assert (here / names[0]).read_bytes() == (there / names[0]).read_bytes()
    assert not (here / names[1]).exists()


def test_a_stream_that_is_cut_goes_on_with_what_is_missing(files, there, here, api_server):
    names = [f"artifacts/ab/{number}" for number in range(NUM_FILES)]
    put(there, names)
    whole = NUM_FILES * FILE_BYTES
    api_server.kubelet.cut(whole // 2, times=2)
    assert files.bring(names, here) == whole
    assert contents(here) == contents(there)
    assert len(api_server.kubelet.executed) == 3
    assert api_server.kubelet.num_bytes < 1.2 * whole


def test_a_stream_that_breaks_off_for_ever_is_told(files, there, here, api_server):
    put(there, ["a", "b"])
    api_server.kubelet.cut(100, times=100)
    with pytest.raises(TargetError, match="again and again"):
        files.bring(["a", "b"], here)
    assert contents(here) == {}


def test_a_stream_that_ends_early_and_looks_whole_is_taken_up_again(
    files, there, here, api_server, monkeypatch
):
    put(there, ["a"])
    whole = packed((tarfile.TarInfo("a"), (there / "a").read_bytes()))
    api_server.kubelet.output = whole[:-3000]
    monkeypatch.setattr(files._api, "sleep", lambda _: setattr(api_server.kubelet, "output", None))
    files.bring(["a"], here)
    assert contents(here) == contents(there)


def test_no_link_leads_out_of_the_store(files, there, here, tmp_path):
    (tmp_path / "secret.json").write_text("secret")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/b.json").write_text("secret")
    (there / "sweeps/toy").mkdir(parents=True)
    (there / "sweeps/toy/a.json").symlink_to(tmp_path / "secret.json")
    (there / "logs").symlink_to(tmp_path / "secrets")
    wanted = ["sweeps/toy/*.json", "logs/*.json", "logs/b.json", "../../secret.json"]
    assert files.bring(wanted, here) == 0
    assert contents(here) == {}


def member(name, kind=tarfile.REGTYPE, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    "hostile",
    [
        member("../evil.json"),
        member("sweeps/toy/../../../evil.json"),
        member("/tmp/evil.json"),
        member("sweeps/toy/a.json", tarfile.SYMTYPE, "/etc/passwd"),
        member("sweeps/toy/a.json", tarfile.LNKTYPE, "../evil.json"),
        member("sweeps/toy/a.json", tarfile.CHRTYPE),
        member("sweeps/other/a.json"),
        member("sweeps/toy/deeper/a.json"),
        member("sweeps/toy/a.sh"),
    ],
    ids=lambda member: f"{member.name} {member.type.decode()}",
)
def test_what_was_not_asked_for_is_refused(files, here, tmp_path, api_server, hostile):
    outside = contents(tmp_path)
    content = b"evil" if hostile.isreg() else b""
    api_server.kubelet.output = packed((hostile, content))
    with pytest.raises(TargetError, match="was not asked for"):
        files.bring(["sweeps/toy/*.json"], here)
    assert contents(here) == {}
    assert contents(tmp_path) == outside


def test_a_name_that_was_asked_for_may_not_lead_out(files, here, api_server, tmp_path):
    api_server.kubelet.output = packed((member("../evil"), b"evil"))
    with pytest.raises(TargetError, match="not kept"):
        files.bring(["../evil"], here)
    assert not (tmp_path / "evil").exists()


def test_without_a_head_a_pod_is_made_that_can_only_read_and_goes(
    files, there, here, api_server, namespace
):
    put(there, ["a"])
    files.bring(["a"], here)
    files.bring(["b"], here)
    (name,) = pods(api_server, namespace)
    made = api_server.objects.get(POD, namespace, name)
    (container,) = made["spec"]["containers"]
    assert [mount["readOnly"] for mount in container["volumeMounts"]] == [True]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert made["spec"]["activeDeadlineSeconds"] == reader_pods.LIFETIME_S
    assert made["spec"]["securityContext"]["runAsNonRoot"]
    assert made["metadata"]["labels"]["fanflare.dev/sweep"] == "toy"
    assert not files.is_driven
    files.close()
    assert pods(api_server, namespace) == []


def test_a_pod_that_is_taken_away_is_made_again(files, there, here, api_server, namespace):
    put(there, ["a", "b"])
    files.bring(["a"], here)
    api_server.objects.delete(POD, namespace, *pods(api_server, namespace))
    files.bring(["b"], here)
    assert contents(here) == contents(there)


def test_the_pod_goes_where_the_head_may_and_takes_none_of_its_containers(namespace):
    patch = {
        "metadata": {"annotations": {"team": "nlp"}},
        "spec": {
            "runtimeClassName": "gvisor",
            "securityContext": {"runAsUser": None},
            "containers": [{"name": "ray-head", "env": [{"name": "A", "value": "b"}]}],
        },
    }
    toleration = {"key": "shared"}
    head = {"pod_patch": patch, "node_selector": {"disk": "ssd"}, "tolerations": [toleration]}
    given = profile(namespace="ml", head=head, image_pull_secrets=["registry"])
    made = reader_pods.reader_pod(given, "toy", STORE, None)
    spec = made["spec"]
    assert (spec["runtimeClassName"], spec["nodeSelector"]) == ("gvisor", {"disk": "ssd"})
    assert spec["tolerations"][0]["key"] == "shared"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert "runAsUser" not in spec["securityContext"]
    assert [each["name"] for each in spec["containers"]] == ["reader"]
    assert made["metadata"]["annotations"] == {"team": "nlp"}


def test_a_pod_that_cannot_start_is_told_with_what_to_do(
    files, here, said, api_server, namespace, monkeypatch
):
    monkeypatch.setattr(reader_pods, "WAIT_S", 0.1)
    api_server.kubelet.obstacle = unscheduled("0/3 nodes are available: 3 Insufficient cpu.")
    with pytest.raises(TargetError, match="Insufficient cpu") as told:
        files.bring(["a"], here)
    assert "wait until cpu is free" in str(told.value)
    assert said == ["the reader waits for a node: 0/3 nodes are available: 3 Insufficient cpu"]
    files.close()
    assert pods(api_server, namespace) == []


def test_interrupted_while_it_waits_it_leaves_no_pod(
    files, here, api_server, namespace, monkeypatch
):
    def interrupted(_):
        raise KeyboardInterrupt

    api_server.kubelet.obstacle = unscheduled("no node")
    monkeypatch.setattr(files._api, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.bring(["a"], here)
    files.close()
    assert pods(api_server, namespace) == []


@pytest.mark.parametrize("verb", ["get", "create"])
def test_without_the_right_to_exec_that_is_told(files, here, api_server, verb):
    api_server.faults.deny(verb, "pods/exec")
    with pytest.raises(TargetError, match="pods/exec") as told:
        files.bring(["a"], here)
    assert "a right is missing" in str(told.value)
    assert "Role" in str(told.value)


def test_a_program_that_fails_there_is_told_in_its_words(files, there, here):
    (there / "sweeps").write_text("a file, where a folder should be")
    with pytest.raises(TargetError, match="Not a directory") as told:
        files.bring(["sweeps/*.json"], here)
    assert "claim 'results'" in str(told.value)


def test_a_server_in_trouble_is_asked_again(files, there, here, api_server):
    put(there, ["a"])
    api_server.faults.fail(503, times=2, resource="pods/exec")
    api_server.faults.fail(429, times=1, resource="pods/exec", retry_after=1)
    assert files.bring(["a"], here) == FILE_BYTES


def test_a_new_token_is_taken_for_the_stream_too(files, there, here, api_server, token_file):
    put(there, ["a", "b"])
    files.bring(["a"], here)
    api_server.renew_token(token_file)
    assert files.bring(["b"], here) == FILE_BYTES


WRITE = """
import pathlib
folder = pathlib.Path("/store/fanflare/sweeps/toy")
folder.mkdir(parents=True)
(folder / "a.json").write_bytes(bytes(range(256)) * 4000)
"""


@pytest.mark.skipif(not REAL, reason="on our own server the tests above say so")
def test_what_one_pod_wrote_comes_out_through_another(namespace, kubeconfig, here, said, nodes):
    given = profile(namespace, storage={"pvc": "results"})
    api = Api(given)
    if lacking := lacks_volume(api):
        pytest.skip(lacking)
    pod = reader_pods.reader_pod(given, "toy", STORE, None)
    (container,) = pod["spec"]["containers"]
    container |= {"command": ["python", "-c", WRITE]}
    container["volumeMounts"] = [{"name": "store", "mountPath": "/store"}]
    name = api.create("pods", pod)["metadata"]["name"]
    assert within(120, lambda: api.get("pods", name)["status"]["phase"] == "Succeeded")
    files = ClaimFiles(given, "toy", STORE, said.append, api)
    assert files.bring(["sweeps/toy/*.json"], here) == 256 * 4000
    files.close()
    assert contents(here) == {"sweeps/toy/a.json": bytes(range(256)) * 4000}
    assert within(60, lambda: not api.select("pods"))
