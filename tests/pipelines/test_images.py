"""Tasks of images: reading, splitting, pixels as a model wants them, training, a real model."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression
from transformers import (
    AutoImageProcessor,
    AutoModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from cluster.job import Resources
from cluster.store import Store
from orchestrator import run
from orchestrator.running.checkpoint import StoreCheckpoint
from orchestrator.running.worker_context import WorkerContext
from pipelines.contract import InputError
from pipelines.models.backbone import features_of, warm_model
from pipelines.models.files import model_files
from pipelines.sources import read, resolve_model, resolve_task
from pipelines.sources.images import decoded
from pipelines.transfer.data.loading import load
from pipelines.transfer.data.pixels import PixelBatches, preprocess
from pipelines.transfer.encoding import encode
from pipelines.transfer.finetuning import finetune, new_learner, trainings
from tests.pipelines.test_finetuning import CutError, CuttingCheckpoint, member
from tests.pipelines.test_transfer import Fake

SIZES = {"train_size": 24, "validation_size": 8, "test_size": 8}
KIND = {"kind": "image-classification"}
HERE = Path()


def picture(number, is_red):
    """Return a small picture, mostly red or mostly blue, no two alike."""
    draw = np.random.default_rng(number)
    pixels = draw.integers(0, 80, (12, 10, 3))
    pixels[..., 0 if is_red else 2] += 150
    return pixels.astype(np.uint8)


def save_pictures(root, number, folders=("",), suffixes=(".png", ".jpg")):
    """Save pictures as `FOLDER/red/1.png` and so on."""
    for index in range(number):
        folder = root / folders[index % len(folders)] / ("red" if index // 2 % 2 else "blue")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{index}{suffixes[index % len(suffixes)]}"
        Image.fromarray(picture(index, folder.name == "red")).save(path)
    return root


def save_vision(folder, name):
    """Save a tiny random model with its image processor in the hub's layout."""
    torch.manual_seed(0)
    if name == "vit":
        config = ViTConfig(
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
        )
        ViTModel(config).save_pretrained(folder)
    else:
        config = ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 16], depths=[1, 1, 1], layer_type="basic"
        )
        ResNetModel(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["vit", "resnet"])
def model(request, tmp_path_factory):
    folder = save_vision(tmp_path_factory.mktemp(request.param), request.param)
    return resolve_model({"name": request.param, "source": str(folder)}, folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return save_pictures(tmp_path_factory.mktemp("pictures"), 60)


@pytest.fixture
def context(tmp_path):
    context = WorkerContext(Resources())
    store = Store(str(tmp_path / "store"))
    context.checkpoint = lambda member: StoreCheckpoint(store, "0" * 64, member)
    return context


@pytest.fixture
def pixels(context, model, pictures):
    task = resolve_task({"name": "mine", "source": str(pictures)}, pictures)
    (loaded,) = load(None, [SIZES], {}, {"task": task})
    examples = Fake(loaded.value, loaded.tables)
    (result,) = preprocess(context, [{}], {"examples": examples}, {"model": model})
    return Fake(result.value, result.tables)


# Reading


def test_a_folder_of_class_folders_needs_no_more_than_its_name(pictures):
    task = resolve_task("./" + pictures.name, pictures.parent)
    assert (task.kind, task.num_rows, task.num_classes) == ("image-classification", 60, 2)
    assert task.metric == "accuracy"
    (table,) = read(task).values()
    assert sorted(table["label"].unique().to_pylist()) == ["blue", "red"]
    sizes = {decoded(image.as_py()).size for image in table["image"]}
    assert sizes == {(10, 12)}


def test_folders_of_splits_are_official_and_renaming_a_class_changes_the_task(tmp_path):
    root = save_pictures(tmp_path / "a", 24, folders=("train", "test"))
    (root / "train" / "red" / ".DS_Store").write_text("no image")
    task = resolve_task({"name": "a", "source": str(root), **KIND}, tmp_path)
    assert {split: len(table) for split, table in read(task).items()} == {"train": 12, "test": 12}
    assert task.num_rows == 24
    for split in ("train", "test"):
        (root / split / "red").rename(root / split / "crimson")
    assert resolve_task({"name": "a", "source": str(root), **KIND}, tmp_path).digest != task.digest


@pytest.mark.parametrize("as_hub", [False, True])
def test_images_as_datasets_keeps_them(tmp_path, as_hub):
    features = Features({"img": ImageFeature(), "fine": ClassLabel(names=["blue", "red"])})
    images = [Image.fromarray(picture(n, n % 2)) for n in range(6)]
    rows = {"img": images, "fine": [n % 2 for n in range(6)]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    entry = {"name": "a", "source": str(tmp_path / "train.parquet"), "image": "img"}
    task = resolve_task({**entry, "label": "fine"}, tmp_path)
    assert (task.kind, task.num_rows, task.num_classes) == ("image-classification", 6, 2)
    if as_hub:
        from dataclasses import replace  # noqa: PLC0415

        from pipelines.sources.readers import Request  # noqa: PLC0415
        from pipelines.sources.readers.columns import standardise  # noqa: PLC0415
        from pipelines.sources.readers.hub import read_hub_dataset  # noqa: PLC0415

        found = read_hub_dataset(Request(root=tmp_path, paths={}, options=task.options))
        tables = [standardise(t, replace(task, reader="hub-dataset")) for t in found.values()]
    else:
        tables = list(read(task).values())
    (table,) = tables
    assert table["label"].to_pylist() == ["blue", "red"] * 3
    seen = decoded(table["image"][3].as_py())
    assert np.array_equal(np.asarray(seen), picture(3, is_red=True))


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        ({"kind": "classification"}, "kind", "the files are images"),
        ({"kind": "image-classification", "text": "a"}, "text", "no `text`"),
        ({"kind": "regression", "image": "a"}, "kind", "`image` is given"),
    ],
)
def test_what_does_not_fit_is_told(pictures, entry, key, words):
    with pytest.raises(InputError, match=words) as caught:
        resolve_task({"name": "a", "source": f"{pictures}", "splits": None, **entry}, pictures)
    assert caught.value.key == key


def test_a_column_of_names_is_no_column_of_images(tmp_path):
    pq.write_table(pa.table({"image": ["a.png"], "label": ["x"]}), tmp_path / "a.parquet")
    task = resolve_task({"name": "a", "source": "./a.parquet", **KIND}, tmp_path)
    with pytest.raises(InputError, match="holds string, not images"):
        read(task)


def test_broken_images_are_dropped_and_equal_pixels_are_repeats(tmp_path):
    root = save_pictures(tmp_path, 40, suffixes=(".png",))
    (root / "red" / "broken.png").write_bytes(b"not an image")
    (root / "red" / "half.png").write_bytes((root / "red" / "2.png").read_bytes()[:90])
    Image.open(root / "red" / "2.png").save(root / "red" / "again.bmp")
    task = resolve_task({"name": "a", "source": str(root)}, tmp_path)
    (result,) = load(None, [{}], {}, {"task": task})
    assert result.value["dropped"] == {"without_image": 2, "without_label": 0, "repeated": 1}


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16", "CMYK"])
def test_images_of_every_mode_become_rgb(mode):
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    if mode == "I;16":
        image = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) << 8)
    else:
        image = grey.convert(mode)
    stream = io.BytesIO()
    image.save(stream, "TIFF" if mode == "CMYK" else "PNG")
    seen = np.asarray(decoded(stream.getvalue()))
    assert seen.shape == (16, 16, 3)
    assert (seen[0, 0, 0], seen[15, 15, 0]) == (0, 255)


# Pixels


def test_pixels_are_bytes_and_batches_are_what_the_models_own_processor_gives(
    context, model, pixels, pictures
):
    table = pixels.table("train")
    assert table.column_names == ["row", "label", "pixels"]
    assert table["pixels"].nbytes == 24 * 32 * 32 * 3
    (source,) = read(resolve_task({"name": "mine", "source": str(pictures)}, pictures)).values()
    folder = model_files(context, {"model": model}, {}).folder
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    rows = np.array([5, 0])
    found = PixelBatches(pixels, "train", "cpu").batch(rows)["pixel_values"]
    images = [decoded(source["image"][table["row"][n].as_py()].as_py()) for n in rows.tolist()]
    wanted = processor(images, return_tensors="pt")["pixel_values"]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_grey_model_gets_grey_images(context, pictures, tmp_path):
    folder = save_vision(tmp_path / "grey", "vit")
    config = ViTConfig.from_pretrained(folder, num_channels=1)
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.5], image_std=[0.5], do_convert_rgb=False
    ).save_pretrained(folder)
    model = resolve_model({"name": "grey", "source": str(folder)}, folder)
    task = resolve_task({"name": "mine", "source": str(pictures)}, pictures)
    (loaded,) = load(None, [SIZES], {}, {"task": task})
    examples = Fake(loaded.value, loaded.tables)
    (result,) = preprocess(context, [{}], {"examples": examples}, {"model": model})
    assert result.value["shape"] == [32, 32, 1]
    batch = PixelBatches(Fake(result.value, result.tables), "train", "cpu").batch(np.arange(2))
    assert batch["pixel_values"].shape == (2, 1, 32, 32)


# Training


@pytest.mark.parametrize("method", ["full", "partial", "lora", "scratch"])
def test_every_method_trains_on_images(context, model, pixels, method):
    params = member(method, learning_rate=5e-3, head_learning_rate=0.05, epochs=4)
    if (model.name, method) == ("resnet", "lora"):
        with pytest.raises(InputError, match="linear maps"):
            finetune(context, [params], {"prepared": pixels}, {"model": model})
        return
    (result,) = finetune(context, [params], {"prepared": pixels}, {"model": model})
    losses = [point["train_loss"] for point in result.value["curve"] if "train_loss" in point]
    assert losses[-1] < losses[0]
    predictions = result.tables["predictions"]
    assert len(predictions) == 16


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_features_are_one_vector_an_image(context, model, pixels, pooling):
    backbone = AutoModel.from_pretrained(model.source.location).eval()
    batch = PixelBatches(pixels, "test", "cpu").batch(np.arange(3))
    assert features_of(backbone, batch, pooling).shape == (3, 16)


def test_what_is_frozen_stays_as_it_is_down_to_running_statistics(context, model, pixels):
    params = member("partial", frozen_layers=2, epochs=2, batch_size=8)
    learner = new_learner(context, model_files(context, {"model": model}, {}), params, 2)
    before = learner.module["backbone"].state_dict()
    free = {name for name, w in learner.module["backbone"].named_parameters() if w.requires_grad}
    before = {name: value.clone() for name, value in before.items()}
    ((trained, _),) = trainings(context, [params], {"prepared": pixels}, {"model": model})
    after = trained.module["backbone"].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    layers = {name.rpartition(".")[0] for name in free}
    assert {name.rpartition(".")[0] for name in changed} <= layers
    if model.name == "resnet":
        assert any(name.endswith("running_mean") for name in changed)


def test_training_that_was_cut_goes_on_to_the_same_bits(context, model, pixels, tmp_path):
    params = member("full", epochs=2, batch_size=8)
    arguments = ([params], {"prepared": pixels}, {"model": model})
    (undisturbed,) = finetune(context, *arguments)
    store = Store(str(tmp_path / "cut"))
    checkpoint = CuttingCheckpoint(store, "1" * 64, 0)
    checkpoint.cut_after = 4
    context.checkpoint = lambda _: checkpoint
    with pytest.raises(CutError):
        finetune(context, *arguments)
    context.checkpoint = lambda member: StoreCheckpoint(store, "1" * 64, member)
    (resumed,) = finetune(context, *arguments)
    assert resumed.tables["predictions"].equals(undisturbed.tables["predictions"])
    assert resumed.value["curve"] == undisturbed.value["curve"]


def test_a_sweep_over_images(tmp_path, pictures):
    folder = save_vision(tmp_path / "vit", "vit")
    sweep = {
        "name": "pictures",
        "models": {"name": "tiny-vit", "source": str(folder)},
        "tasks": {"name": "colours", "source": str(pictures)},
        "tracking": "off",
        **SIZES,
        "space": [{"method": "probe", "epochs": 40}, {"method": "full", "epochs": 1}],
    }
    report = run(sweep, backend="inline", store=str(tmp_path / "store"))
    assert report.counts == {"FINISHED": 2}
    assert report.leaderboard.tasks["colours"][0].scores["test"].mean > 0.8


# EfficientNet-Lite0

CHANNELS = [0.0, 0.01859453, 0.00195390, 0.32401502, 0.0, 0.0, 0.14772776, 0.09648140]
"""Mean features that the package efficientnet-lite-pytorch 0.1.0 gives for the same image."""


def test_efficientnet_lite_gives_what_the_original_gives(context):
    files = model_files(context, {"model": resolve_model("EfficientNet-Lite0", HERE)}, {})
    image = load_sample_image("china.jpg")[:224, :224]
    processor = AutoImageProcessor.from_pretrained(files.folder, backend="pil")
    backbone = warm_model(context, files)
    with torch.inference_mode():
        hidden = backbone(**processor(image, return_tensors="pt")).last_hidden_state
    assert hidden.shape == (1, 1280, 7, 7)
    assert hidden.mean(dim=(2, 3))[0, :8].tolist() == pytest.approx(CHANNELS, abs=1e-4)
    assert float(hidden.norm()) == pytest.approx(206.8143, abs=1e-2)


def test_the_features_tell_handwritten_digits_apart(context):
    task, model = resolve_task("mnist-5k", HERE), resolve_model("EfficientNet-Lite0", HERE)
    sizes = {"train_size": 80, "validation_size": 10, "test_size": 60}
    (loaded,) = load(None, [sizes], {}, {"task": task})
    examples = Fake(loaded.value, loaded.tables)
    (prepared,) = preprocess(context, [{}], {"examples": examples}, {"model": model})
    inputs = {"prepared": Fake(prepared.value, prepared.tables)}
    (encoded,) = encode(context, [{"pooling": "mean"}], inputs, {"model": model})
    found = encoded.arrays
    probe = LogisticRegression(max_iter=1000, tol=0.01)
    probe.fit(found["train/features"], found["train/labels"])
    # With 1,000 training rows it is 0.94.
    assert probe.score(found["test/features"], found["test/labels"]) > 0.6
