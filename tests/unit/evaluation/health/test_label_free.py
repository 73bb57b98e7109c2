from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

import manyview
from manyview.backbones import Backbone, build_backbone, load_backbone, save_backbone
from manyview.config import BlockViewsConfig, PretrainConfig, WholeViewsConfig
from manyview.errors import UserError
from manyview.evaluation.features.backbone import FrozenBackbone
from manyview.evaluation.features.extract import BATCH_SIZE, extract, pooled_views
from manyview.evaluation.health.check import check_run, check_weights
from manyview.evaluation.health.diagnosis import Diagnosis, Measures, diagnose
from manyview.evaluation.health.run_parts import remedies_of
from manyview.evaluation.tables import format_check
from manyview.images import find_images, open_image
from manyview.methods import build_method
from manyview.runs import RunFolder
from manyview.views import normalize, render_views, sample_views
from tests.helpers.tiny import SETTINGS, TinyNet, train_tiny, write_images

COUNT = 130
FAST: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), COUNT)


def make_weights(file: Path, change: Callable[[Backbone], None]) -> Path:
    """A small convolutional network with weights of its own, changed, in a file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        backbone = build_backbone("timm/test_resnet", zero_init_residual=False)
    change(backbone)
    save_backbone(backbone, file, {})
    return file


def take_statistics(images: Path) -> Callable[[Backbone], None]:
    """Let the batch norms see the images, as training does."""

    def change(backbone: Backbone) -> None:
        files = find_images(images)
        pixels = [np.asarray(Image.open(files.path(i)).resize((32, 32))).transpose(2, 0, 1) for i in range(len(files))]
        for norm in backbone.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = 1.0
        with torch.no_grad():
            backbone.train()(normalize(torch.from_numpy(np.stack(pixels)), backbone.mean, backbone.std))

    return change


@pytest.fixture(scope="module")
def weights(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights") / "healthy.safetensors", take_statistics(image_folder))


@pytest.fixture(scope="module")
def checked(image_folder: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("checked") / "out"
    return check_weights(weights, images=image_folder, out=out, **FAST), out


@pytest.fixture(scope="module")
def run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of block-wise views at 24 pixels."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "list.txt").write_text("\n".join(f"{index:02d}.jpg" for index in range(26)))
    return train_tiny(
        image_folder,
        folder / "run",
        list=folder / "list.txt",
        backbone="timm/test_resnet",
        epochs=1,
        batch_size=13,
        view_size=24,
        health=True,
    )


# The oracles: definitions in float64.


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def expected_measures(z: np.ndarray) -> dict[str, float]:
    sigma = np.linalg.svd(z, compute_uv=False)
    p = sigma / sigma.sum()
    rank = math.exp(-np.sum(p * np.log(p)))
    squares = 2 - 2 * unit(z) @ unit(z).T
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(z, rowvar=False)))[::-1]
    k = np.arange(11, min(100, np.linalg.matrix_rank(z - z.mean(0))) + 1)
    slope = np.polyfit(np.log(k), np.log(eigenvalues[k - 1]), 1, w=1 / np.sqrt(k))[0]
    return {
        "dim": z.shape[1],
        "std": unit(z).std(axis=0, ddof=1).mean() * math.sqrt(z.shape[1]),
        "rankme": rank,
        "rankme_share": rank / min(z.shape),
        "uniformity": math.log(np.exp(-2 * squares[np.triu_indices(len(z), 1)]).mean()),
        "alpha_req": -slope,
    }


def expected_alignment(backbone: nn.Module, config: Any, images: Path, head: nn.Module | None = None) -> float:
    """Of views that are sampled all at once and shown one at a time."""
    files = find_images(images)
    distances = []
    for index in range(len(files)):
        pixels = open_image(files.path(index)).decode()
        height, width = pixels.shape[:2]
        views = sample_views(config, width, height, seed=0, epoch=0, image=index)
        block = index % (len(views) // 2)
        rendered = torch.from_numpy(render_views(pixels, views[2 * block : 2 * block + 2], config.size))
        with torch.no_grad():
            vectors = backbone(normalize(rendered, backbone.mean, backbone.std)).mean(dim=(2, 3))  # type: ignore[arg-type]
            vectors = head(vectors) if head else vectors
        u, v = unit(vectors.double().numpy())
        distances.append(np.sum((u - v) ** 2))
    return float(np.mean(distances))


def close(found: Measures, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name  # type: ignore[literal-required]


def test_measures_are_those_of_their_definitions(
    checked: tuple[dict[str, Any], Path], image_folder: Path, weights: Path
) -> None:
    features = checked[0]["results"]["pretrained"]["features"]
    backbone = load_backbone(weights)
    names = list(find_images(image_folder))
    whole = extract(backbone, image_folder, names, 32, workers=0, device="cpu")["avg"].double().numpy()
    close(features, expected_measures(whole))
    expected = expected_alignment(backbone, WholeViewsConfig(size=32), image_folder)
    assert features["alignment"] == pytest.approx(expected, rel=1e-4)


def test_the_result_is_the_file(checked: tuple[dict[str, Any], Path], image_folder: Path, weights: Path) -> None:
    result, out = checked
    assert json.loads((out / "metrics.json").read_text()) == result
    assert set(result) == {"evaluation", "protocol", "results", "normalization", "diagnosis", "provenance"}
    assert result["evaluation"] == "label-free"
    assert {name: set(kinds) for name, kinds in result["results"].items()} == {
        "pretrained": {"features"},
        "random_init": {"features"},
    }
    expected = {
        "backbone": "timm/test_resnet",
        "weights": str(weights),
        "images": str(image_folder),
        "list": None,
        "sample": 1000,
        "photographs": COUNT,
        "unreadable": {},
        "size": 32,
        "views": WholeViewsConfig(size=32).model_dump(mode="json"),
        "seed": 0,
        "precision": "float32",
        "device": "cpu",
    }
    assert {key: result["protocol"][key] for key in expected} == expected
    assert "normalise by each batch of 32" in result["protocol"]["untrained_backbone"]
    assert "eigenvalues 11 to 100" in result["protocol"]["alpha_req"]
    assert result["protocol"]["projections"].startswith("none")


def test_weights_that_have_seen_images_are_healthy(checked: tuple[dict[str, Any], Path]) -> None:
    assert checked[0]["diagnosis"]["verdict"] == "healthy"


@pytest.mark.parametrize("directions", [0, 1])
def test_features_of_hardly_any_direction_are_collapsed(image_folder: Path, tmp_path: Path, directions: int) -> None:
    def collapse(backbone: Backbone) -> None:
        """Let all but the first channels be constant."""
        take_statistics(image_folder)(backbone)
        convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
        with torch.no_grad():
            for convolution in convolutions:
                if convolution.out_channels == backbone.out_channels:
                    convolution.weight[directions:] = 0
            for module in backbone.modules():
                if isinstance(module, nn.BatchNorm2d) and module.num_features == backbone.out_channels:
                    module.bias.fill_(0.5)
                    assert module.running_mean is not None
                    module.running_mean[directions:] = 0

    weights = make_weights(tmp_path / "collapsed.safetensors", collapse)
    result = check_weights(weights, images=image_folder, **FAST)
    features = result["results"]["pretrained"]["features"]
    assert features["rankme"] < 2
    assert features["alpha_req"] is None
    assert result["diagnosis"]["verdict"] == "collapsed"
    if directions == 0:
        assert features["std"] == pytest.approx(0, abs=1e-6)
        assert features["uniformity"] == pytest.approx(0, abs=1e-6)


def test_an_untrained_network_is_measured_as_training_starts(image_folder: Path, tmp_path: Path) -> None:
    """Its norms take the statistics of the batches: with those of the whole set, the rank is nearly the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        backbone = build_backbone("timm/test_resnet")
    file = tmp_path / "untrained.safetensors"
    save_backbone(backbone, file, {})
    bare = check_weights(file, images=image_folder, seed=5, **FAST)["results"]
    take_statistics(image_folder)(backbone)
    save_backbone(backbone, file, {})
    seen = check_weights(file, images=image_folder, seed=5, **FAST)["results"]
    beside = bare["random_init"]["features"]
    assert beside == seen["random_init"]["features"]
    assert beside["rankme"] == pytest.approx(seen["pretrained"]["features"]["rankme"], rel=0.25)
    assert bare["pretrained"]["features"]["rankme"] < 0.5 * beside["rankme"]


@pytest.mark.parametrize("count", [1, 11, 32, 33])
def test_views_go_through_networks_one_after_the_other(count: int) -> None:
    """In batches that are no larger than of one view, and none of a single input, whose norms would be undefined."""
    seen: list[int] = []

    class Network(nn.Module):
        mean, std = (0.0, 0.0), (1.0, 1.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return x.mean(dim=(2, 3), keepdim=True)

    pixels = torch.randint(256, (count, 3, 2, 8, 8), dtype=torch.uint8)
    pooled = pooled_views(FrozenBackbone(Network(), torch.device("cpu")), pixels)
    assert torch.allclose(pooled, pixels.double().mean(dim=(3, 4)).float() / 255, atol=1e-5)
    assert sum(seen) == 3 * count
    assert 1 < min(seen) <= max(seen) <= BATCH_SIZE


def test_a_run_has_projections_and_its_own_views(run: RunFolder, image_folder: Path) -> None:
    result = check_weights(run, images=image_folder, workers=0, device="cpu")
    config = PretrainConfig.model_validate(run.read_json("config.json"))
    assert result["protocol"]["views"] == config.views.model_dump(mode="json")
    assert result["protocol"]["size"] == 24
    assert result["protocol"]["steps"] == 2
    assert config.views.kind == "blocks"

    checkpoint, _ = run.checkpoints.load_newest()
    assert checkpoint is not None
    method = build_method(build_backbone("timm/test_resnet"), config)
    method.load_state_dict(
        {key.removeprefix("model."): v for key, v in checkpoint.tensors.items() if key.startswith("model.")}
    )
    method.eval()
    names = list(find_images(image_folder))
    pooled = extract(method.backbone, image_folder, names, 24, workers=0, device="cpu")["avg"]
    with torch.no_grad():
        z = method.projector(pooled).double().numpy()
    measures = result["results"]["pretrained"]
    close(measures["features"], expected_measures(pooled.double().numpy()))
    expected_of_z = expected_measures(z)
    del expected_of_z["alpha_req"]  # two steps leave so few directions that the definition fits a line to rounding
    close(measures["projections"], expected_of_z)
    for kind, head in (("features", None), ("projections", method.projector)):
        expected = expected_alignment(method.backbone, config.views, image_folder, head)
        assert measures[kind]["alignment"] == pytest.approx(expected, rel=1e-4)


def test_the_file_in_a_run_is_the_run(run: RunFolder, image_folder: Path, tmp_path: Path) -> None:
    options = {"images": image_folder, "sample": 20, "workers": 0, "device": "cpu"}
    by_file, by_folder = (check_weights(weights, **options) for weights in (run.weights, run))
    assert {key: by_file[key] for key in ("protocol", "results")} == {
        key: by_folder[key] for key in ("protocol", "results")
    }
    elsewhere = tmp_path / "elsewhere.safetensors"
    elsewhere.write_bytes(run.weights.read_bytes())
    apart = check_weights(elsewhere, size=24, **options)
    assert set(apart["results"]["pretrained"]) == {"features"}
    assert apart["protocol"]["views"] == WholeViewsConfig(size=24).model_dump(mode="json")

    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "backbone.safetensors").write_bytes(run.weights.read_bytes())
    bare = check_weights(tmp_path / "bare", size=24, **options)
    assert bare["results"] == apart["results"]
    assert bare["protocol"]["weights"] == str(tmp_path / "bare" / "backbone.safetensors")


def test_a_run_is_beside_the_weights_it_began_with(
    run: RunFolder, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its folder holds them, as it does where it writes a blend, or only names their file."""
    first = Path(shutil.copytree(run.path, tmp_path / "first"))
    options: dict[str, Any] = {"images": image_folder, "sample": 20, "workers": 0, "device": "cpu"}
    alone = check_weights(first, **options)
    assert "initial" not in alone["results"]
    named: dict[str, Any] = {"init": first, "epochs": 1, "batch_size": 13, "view_size": 24}
    named["list"] = run.path.parent / "list.txt"
    folders = {}
    for name, settings in (("named", {}), ("held", {"training.blend": 0.5, "training.norm_statistics": "keep"})):
        values = {**SETTINGS, **settings}
        folders[name] = manyview.pretrain(image_folder, tmp_path / name, set=values, **named)
        assert "Beside the weights it began with: RankMe" in " ".join(capsys.readouterr().err.split())
        result = check_weights(folders[name], **options)
        assert result["results"]["initial"]["features"] == alone["results"]["pretrained"]["features"]
        assert "Beside the weights it began with" in result["diagnosis"]["sentence"]
        assert set(result["results"]["pretrained"]) == {"features", "projections"}
        assert "initial" in printed(result)
    shutil.rmtree(first)
    assert "initial" not in check_weights(folders["named"], **options)["results"]
    assert "initial" in check_weights(folders["held"], **options)["results"]


def test_projections_need_a_checkpoint_of_these_weights(run: RunFolder, image_folder: Path, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "copy")
    copy.path.mkdir()
    for name in ("config.json", "run.json", "backbone.safetensors"):
        (copy.path / name).write_bytes((run.path / name).read_bytes())
    options = {"images": image_folder, "sample": 20, "workers": 0, "device": "cpu", "random_init": False}
    assert set(check_weights(copy, **options)["results"]["pretrained"]) == {"features"}

    copy.checkpoints.folder.mkdir()
    for path in run.checkpoints.folder.iterdir():
        (copy.checkpoints.folder / path.name).write_bytes(path.read_bytes())
    assert set(check_weights(copy, **options)["results"]["pretrained"]) == {"features", "projections"}

    other = build_backbone("timm/test_resnet")
    save_backbone(other, copy.weights, {})
    assert set(check_weights(copy, **options)["results"]["pretrained"]) == {"features"}

    for path in copy.checkpoints.folder.glob("*.safetensors"):
        path.write_bytes(b"damaged")
    assert set(check_weights(copy, **options)["results"]["pretrained"]) == {"features"}


def test_views_and_size_may_be_chosen(run: RunFolder, image_folder: Path) -> None:
    views = BlockViewsConfig(overlap=0.4, grid=(1, 2))
    result = check_weights(
        run, images=image_folder, sample=8, views=views, workers=0, device="cpu", random_init=False, size=40
    )
    assert result["protocol"]["views"] == views.model_copy(update={"size": 40}).model_dump(mode="json")
    assert result["protocol"]["size"] == 40


def test_the_same_with_any_number_of_workers(image_folder: Path, weights: Path) -> None:
    none, two = (
        check_weights(weights, images=image_folder, sample=70, **FAST | {"workers": workers}) for workers in (0, 2)
    )
    assert {key: none[key] for key in ("protocol", "results")} == {key: two[key] for key in ("protocol", "results")}


def test_the_sample_is_drawn_by_the_seed(image_folder: Path, weights: Path) -> None:
    first, again, other = (
        check_weights(weights, images=image_folder, sample=40, seed=seed, random_init=False, **FAST)["results"]
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_a_list_names_the_images(image_folder: Path, weights: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"{index:02d}.jpg" for index in range(30)))
    result = check_weights(weights, images=image_folder, list=names, random_init=False, **FAST)
    assert result["protocol"]["photographs"] == 30
    assert result["protocol"]["list"] == str(names)


def test_images_that_cannot_be_read_are_left_out_and_named(weights: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 40)
    without = check_weights(weights, images=images, **FAST)["results"]["pretrained"]
    for name in ("00a.jpg", "zz.jpg"):
        (images / name).write_bytes(b"no image")
    result = check_weights(weights, images=images, **FAST)
    assert set(result["protocol"]["unreadable"]) == {str(images / name) for name in ("00a.jpg", "zz.jpg")}
    assert result["protocol"]["photographs"] == 40
    whole = ("std", "rankme", "rankme_share", "alpha_req", "uniformity")
    for name in whole:  # alignment differs: the other images' numbers, which draw the views, have moved
        assert result["results"]["pretrained"]["features"][name] == pytest.approx(without["features"][name], rel=1e-5)
    assert "2 images could not be read" in printed(result)


def test_too_few_readable_images(weights: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 3)
    for name in ("00.jpg", "01.jpg"):
        (images / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"at least two .* but only 1 of 3 can be read; not .*00\.jpg \("):
        check_weights(weights, images=images, **FAST)
    (images / "02.jpg").unlink()
    with pytest.raises(UserError, match="but only 0 of 2"):
        check_weights(weights, images=images, **FAST)


def test_bands_are_measured_too(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        backbone = build_backbone("timm/test_resnet", in_channels=4)
    backbone.mean, backbone.std = (0.5,) * 4, (0.25,) * 4
    save_backbone(backbone, tmp_path / "bands.safetensors", {})
    (tmp_path / "images").mkdir()
    for index in range(12):
        bands = np.random.default_rng(index).integers(0, 65536, (20, 30, 4), dtype=np.uint16)
        np.save(tmp_path / "images" / f"{index}.npy", bands)
    result = check_weights(tmp_path / "bands.safetensors", images=tmp_path / "images", **FAST)
    assert result["protocol"]["bands"] == 4
    assert result["protocol"]["photographs"] == 12
    assert result["results"]["pretrained"]["features"]["std"] > 0


@pytest.mark.parametrize(
    ("value", "sentence"), [(float("nan"), "are NaN or infinite"), (3e38, "features that are not finite")]
)
def test_weights_that_are_not_finite(image_folder: Path, tmp_path: Path, value: float, sentence: str) -> None:
    def spoil(backbone: Backbone) -> None:
        next(backbone.parameters()).data.fill_(value)

    with pytest.raises(UserError, match=sentence):
        check_weights(make_weights(tmp_path / "nan.safetensors", spoil), images=image_folder, sample=4, **FAST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 1}, "sample must be at least 2 images, not 1"),
        ({"size": 4}, "size must be at least 8 pixels, not 4"),
        ({"seed": -1}, "seed must be from 0"),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"precision": "fp16"}, "precision must be"),
        ({"images": "nowhere"}, "the folder of images nowhere does not exist"),
        ({"list": "nothing.txt"}, r"nothing\.txt"),
        ({"backbone": "resnet18"}, "holds the weights of timm/test_resnet, not of resnet18"),
    ],
)
def test_mistakes_are_named(image_folder: Path, weights: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_weights(weights, **{"images": image_folder} | FAST | options)


def test_missing_weights_are_named(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file or folder .*nowhere"):
        check_weights(tmp_path / "nowhere", images=image_folder, **FAST)


def test_a_folder_with_a_result_is_refused_before_any_work(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"already holds a metrics\.json"):
        check_weights(tmp_path / "nowhere", images=image_folder, out=tmp_path, **FAST)


def test_a_run_of_another_version(run: RunFolder, image_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "backbone.safetensors"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "future": 1}))
    with pytest.raises(UserError, match=r"config\.json holds other settings than this version knows"):
        check_weights(tmp_path, images=image_folder, **FAST)


def test_progress_goes_to_its_end(image_folder: Path, weights: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    check_weights(weights, images=image_folder, sample=40, progress=lambda *call: calls.append(call), **FAST)
    assert calls[0] == (0, 40, "images")
    assert calls[-1] == (40, 40, "images")
    assert len(calls) == 3


# At the end of a run.


def test_a_run_that_is_done_leaves_its_health(run: RunFolder) -> None:
    config = PretrainConfig.model_validate(run.read_json("config.json"))
    health = run.read_json("health.json")
    assert health["diagnosis"]["sentence"] == check_run(run, config)
    assert health["protocol"]["photographs"] == 26
    assert health["protocol"]["list"] == config.data.list
    assert set(health["results"]) == {"pretrained", "random_init"}
    assert set(health["results"]["pretrained"]) == {"features", "projections"}


def test_a_module_of_ones_own_is_measured_and_left_alone(run: RunFolder, image_folder: Path, tmp_path: Path) -> None:
    module, names = TinyNet(), run.path.parent / "list.txt"
    run = train_tiny(image_folder, tmp_path / "run", list=names, backbone=module, epochs=1, batch_size=13)
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    sentence = check_run(run, PretrainConfig.model_validate(run.read_json("config.json")), module=module)
    health = run.read_json("health.json")
    assert health["diagnosis"]["sentence"] == sentence
    assert set(health["results"]) == {"pretrained"}
    assert health["protocol"]["untrained_backbone"] is None
    assert set(health["results"]["pretrained"]) == {"features", "projections"}
    assert all(part.training for part in module.modules())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_a_run_does_not_fail_for_want_of_a_check(run: RunFolder, tmp_path: Path) -> None:
    config = PretrainConfig.model_validate(run.read_json("config.json"))
    gone = config.model_copy(update={"data": config.data.model_copy(update={"images": str(tmp_path / "gone")})})
    sentence = check_run(run, gone)
    assert sentence.startswith("The weights were not checked: the folder of images")
    assert "gone" in sentence


# The diagnosis.


def measured(**values: float) -> Measures:
    usual: dict[str, Any] = {
        "dim": 512,
        "std": 0.98,
        "rankme": 150.0,
        "rankme_share": 0.3,
        "alpha_req": 1.5,
        "uniformity": -2.2,
        "alignment": 0.9,
    }
    return Measures(**{**usual, **values})  # type: ignore[typeddict-item]


def judged(rank: float, std: float | None = None, untrained: float | None = 200.0, **more: Any) -> Diagnosis:
    return diagnose(
        measured(rankme=rank, rankme_share=rank / 500),
        more.pop("images", 500),
        untrained=None if untrained is None else measured(rankme=untrained),
        projections=None if std is None else measured(std=std),
        **more,
    )


@pytest.mark.parametrize(
    ("rank", "std", "verdict"),
    [
        # What short runs gave, of ResNet-18 on images and of ResNet-10-T on synthetic scenes.
        (0.70 * 200, 0.99, "healthy"),
        (0.55 * 200, 0.98, "healthy"),
        (0.41 * 200, 0.58, "partly collapsed"),
        (0.20 * 200, 0.37, "collapsed"),
        (0.87 * 200, 0.95, "healthy"),
        (0.52 * 200, 0.63, "partly collapsed"),
        (0.36 * 200, 0.92, "partly collapsed"),
        (0.17 * 200, 0.18, "collapsed"),
        # Without projections.
        (0.41 * 200, None, "partly collapsed"),
        (0.17 * 200, None, "collapsed"),
        (0.60 * 200, None, "healthy"),
        # The worse verdict counts.
        (0.80 * 200, 0.2, "collapsed"),
        (0.10 * 200, 0.99, "collapsed"),
        # The bounds themselves.
        (90.0, 0.8, "healthy"),
        (89.9, 0.8, "partly collapsed"),
        (90.0, 0.79, "partly collapsed"),
        (60.0, 0.99, "partly collapsed"),
        (59.9, 0.99, "collapsed"),
        (90.0, 0.45, "partly collapsed"),
        (90.0, 0.44, "collapsed"),
    ],
)
def test_verdicts(rank: float, std: float | None, verdict: str) -> None:
    diagnosis = judged(rank, std)
    assert diagnosis.verdict == verdict
    assert diagnosis.sentence.startswith(f"{verdict.capitalize()}: RankMe of the features is {rank:.1f}, ")
    assert diagnosis.sentence.count(". ") == 0
    assert diagnosis.sentence.endswith(".")


@pytest.mark.parametrize(
    ("rank", "std", "verdict"),
    [(49.0, None, "collapsed"), (51.0, None, "undecided"), (51.0, 0.9, "healthy"), (51.0, 0.6, "partly collapsed")],
)
def test_verdicts_without_an_untrained_network(rank: float, std: float | None, verdict: str) -> None:
    diagnosis = judged(rank, std, untrained=None)
    assert diagnosis.verdict == verdict
    assert "collapsed: under 10 %" in diagnosis.sentence


def test_too_few_images_are_not_judged() -> None:
    assert judged(10.0, 0.1, images=127).sentence == (
        "Undecided: 127 images are too few to judge by; measure at least 128."
    )
    assert judged(10.0, 0.1, images=128).verdict == "collapsed"


def test_too_few_steps_are_not_judged() -> None:
    assert judged(10.0, 0.1, steps=49).sentence == (
        "Undecided: after 49 steps a network has not settled; train it for 50 or more."
    )
    assert judged(10.0, 0.1, steps=50).verdict == "collapsed"


def test_advice_depends_on_what_the_run_says() -> None:
    assert judged(10.0, 0.2, remedies=["a=1", "b=2"]).sentence.endswith("; train anew with a=1 or b=2.")
    assert judged(10.0).sentence.endswith("; try other weights, or pre-train on your own images (manyview pretrain).")
    assert judged(190.0, 0.99, remedies=["a=1"]).sentence.endswith("only labels tell (manyview linear).")


def test_a_run_of_before_its_method_was_described_is_measured_alike(
    run: RunFolder, image_folder: Path, tmp_path: Path
) -> None:
    old = RunFolder(Path(shutil.copytree(run.path, tmp_path / "old")))
    about = old.read_json("run.json")
    assert about.pop("method")["name"] == "simsiam"
    old.write_json("run.json", about)
    now, then = (check_weights(one, images=image_folder, sample=20, workers=0, device="cpu") for one in (run, old))
    assert "projections" in then["results"]["pretrained"]
    assert then["results"] == now["results"]
    config = PretrainConfig.model_validate(run.read_json("config.json"))
    assert remedies_of(old, config) == ["a smaller training.base_learning_rate (it was 0.05)"]
    assert remedies_of(run, config)[-1:] == remedies_of(old, config) != remedies_of(run, config)


# The table.


def printed(result: dict[str, Any]) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(format_check(result))
    return stream.getvalue()


def test_the_table_shows_every_figure(run: RunFolder, image_folder: Path) -> None:
    result = check_weights(run, images=image_folder, sample=60, workers=0, device="cpu")
    lines = printed(result).splitlines()
    assert lines[2].startswith("Label-free measures of timm/test_resnet on 60 images at 24 px")
    assert lines[-1].strip() == result["diagnosis"]["sentence"]
    kinds = result["results"]["pretrained"]
    columns = [kinds["features"], kinds["projections"], result["results"]["random_init"]["features"]]
    rows = {
        "dimensions": [str(measures["dim"]) for measures in columns],
        "RankMe": [f"{measures['rankme']:.1f}" for measures in columns],
        "RankMe, of the most possible": [f"{100 * measures['rankme_share']:.1f} %" for measures in columns],
        "alpha-ReQ": [f"{measures['alpha_req']:.2f}" for measures in columns],
        "std, of 1/sqrt(d)": [f"{measures['std']:.2f}" for measures in columns],
        "uniformity": [f"{measures['uniformity']:.2f}" for measures in columns],
        "alignment": [f"{measures['alignment']:.2f}" for measures in columns],
    }
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert {row[0]: row[1:4] for row in cells} == rows


def test_the_table_marks_what_is_not_defined(checked: tuple[dict[str, Any], Path]) -> None:
    result = json.loads(json.dumps(checked[0]))
    result["results"]["pretrained"]["features"]["alpha_req"] = None
    (row,) = (line for line in printed(result).splitlines() if "alpha-ReQ" in line)
    assert row.split("│")[2].strip() == "-"
