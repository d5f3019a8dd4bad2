"""Exports of vision models give the trial's own predictions, ours among the architectures."""

import io

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from pipelines.models.efficientnet_lite import EfficientNetLiteConfig, EfficientNetLiteModel
from tests.pipelines.architectures import save_architecture, save_images
from tests.pipelines.exporting import Exports, elsewhere, page_of
from tests.pipelines.stranger import predict

MODELS = ("vit", "resnet", "lite")


def save_lite(folder, vit):
    """Save a small random network of the architecture that transformers does not have."""
    torch.manual_seed(0)
    config = EfficientNetLiteConfig(
        stem_width=8, hidden_size=16, stages=((1, 3, 1, 1, 8), (2, 3, 2, 2, 8))
    )
    EfficientNetLiteModel(config).save_pretrained(folder)
    name = "preprocessor_config.json"
    (folder / name).write_text((vit / name).read_text())
    return folder


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    for name in ("vit", "resnet"):
        save_architecture(folder / name, name)
    save_lite(folder / "lite", folder / "vit")
    training = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8}
    return Exports(
        folder,
        models=[{"name": name, "source": str(folder / name)} for name in MODELS],
        tasks={"name": "tones", "source": str(save_images(folder / "tones", 60))},
        train_size=24,
        validation_size=8,
        test_size=12,
        space=[
            {"method": "full", **training},
            {"method": "probe", **training},
            {"method": "lora", "models": "vit", **training},
        ],
    )


def check(exports, done, classify):
    examples, table, labels = exports.kept(done.trial)
    given = classify(examples["image"].to_pylist())
    assert [answer[0]["label"] for answer in given] == [
        labels[index] for index in table["prediction"].to_pylist()
    ]
    scores = torch.tensor(table["scores"].to_pylist()).softmax(-1).amax(-1)
    np.testing.assert_allclose([answer[0]["score"] for answer in given], scores, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "method"),
    [*((model, method) for model in MODELS for method in ("full", "probe")), ("vit", "lora")],
)
def test_the_loaded_pipeline_gives_the_trials_own_predictions(seen, model, method):
    done = seen.get(model, method)
    folder = str(done.folder)
    classify = transformers.pipeline("image-classification", model=folder, image_processor=folder)
    check(seen, done, lambda images: classify([Image.open(io.BytesIO(i)) for i in images]))
    assert done.verification.reloaded.is_close
    assert done.verification.reloaded.num_rows == 12
    if method != "probe":
        assert done.verification.retrained.max_difference == 0


@pytest.mark.parametrize("model", ["vit", "lite"])
def test_the_folder_loads_where_fanflare_is_not(seen, model, tmp_path):
    done = seen.get(model, "full")
    folder = str(done.folder)
    making = {"task": "image-classification", "model": folder, "image_processor": folder}

    def classify(images):
        paths = [tmp_path / f"{number}.png" for number in range(len(images))]
        for path, content in zip(paths, images, strict=True):
            path.write_bytes(content)
        return elsewhere(predict, list(map(str, paths)), {}, trust_remote_code=True, **making)

    check(seen, done, classify)
    assert (done.folder / "efficientnet_lite.py").exists() is (model == "lite")


def test_the_card_of_a_vision_model_is_about_images(seen):
    page = page_of(seen.get("resnet", "full"))
    assert "pipeline_tag: image-classification" in page
    assert "Gives one of 2 classes for an image. Trained on 24 images" in page
    assert "image_processor=DIR" in page
    assert "tokenizer" not in page.split("## Where it comes from")[0]
