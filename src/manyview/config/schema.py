"""Schema of a pre-training run's settings: types, ranges and defaults.

The defaults are those of the paper (arXiv 2506.23156) and of SimSiam, which it extends; the weight of the image-aware
loss is 0, as in SimSiam, and set by recipes. All models are frozen: a configuration does not change once it is
resolved, so the file in the run folder is what ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, field_validator, model_validator

from manyview.config.choices import CHOICES
from manyview.config.methods import MethodSection, SimSiamConfig
from manyview.config.section import Band, NonNegative, Positive, PositiveInt, Probability, Section
from manyview.config.training import SGDConfig, TrainingConfig
from manyview.config.views import BlockViewsConfig, ViewsSection

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel (red, green, blue) over ImageNet, with pixel values in 0 to 1."""

if TYPE_CHECKING:
    ViewsConfig = ViewsSection
    AnyMethod = MethodSection
    AnyTraining = TrainingConfig
else:
    ViewsConfig = CHOICES["views"].union
    AnyMethod = CHOICES["method"].union
    AnyTraining = CHOICES["training"].union


class DataConfig(Section):
    """Which images to use, how to decode them, and how to handle unreadable ones."""

    images: str = Field(description="folder of images, searched recursively; or shards by path, pattern or address")
    list: str | None = Field(None, description="text or CSV file listing the images to use")
    labels: str | None = Field(
        None, description="image-level labels, for methods that learn from labels: CSV, COCO, Pascal VOC or YOLO"
    )
    label_separator: str | None = Field(
        None, description="text between the labels of an image in CSV files; ' ': white space; list; unset: a bar"
    )
    image_column: str | None = Field(None, description="name of the column of images in CSV files; unset: image")
    label_column: str | None = Field(None, description="name of the column of labels in CSV files; unset: labels")
    class_columns: str | None = Field(
        None, description="columns of 0 and 1 in CSV files, one a class: names, FIRST:LAST or all; unset: as they hold"
    )
    class_names: str | None = Field(
        None, description="file that names YOLO's classes, one a line or a data.yaml; unset: found beside the labels"
    )
    workers: Annotated[StrictInt, Field(ge=0)] | None = Field(
        None, description="number of data loader workers; unset: chosen from the number of cores"
    )
    max_bad_fraction: Probability = Field(0.05, description="fraction of unreadable images above which a run stops")
    max_pixels: PositiveInt = Field(200_000_000, description="larger images are rejected as decompression bombs")
    content_hashes: StrictBool = Field(
        False,
        description="hash the contents of all images at the start and compare them on resume: exact, but every file "
        "is read once more",
    )
    decode: Literal["workers", "device"] = Field(
        "workers", description="where JPEGs are decoded: by the data loader workers, or on the training device (nvJPEG)"
    )
    bands: Literal["rgb"] | PositiveInt = Field(
        "rgb", description="rgb, or the number of spectral bands (8 or 16 bits each) of TIFF, .npy and other files"
    )
    bit_depth: Annotated[StrictInt, Field(ge=9, le=15)] | None = Field(
        None, description="bits that the values of 16-bit files use, 9 to 15, such as 12; unset: all 16"
    )
    rgb_bands: tuple[Band, Band, Band] | None = Field(
        None, description="indices, from 0, of the red, green and blue bands; color augmentations change only these"
    )

    @property
    def channels(self) -> int:
        """Number of input channels of the backbone."""
        return 3 if self.bands == "rgb" else self.bands

    @property
    def color_channels(self) -> tuple[int, int, int] | None:
        """Indices of the red, green and blue channels, if any."""
        return (0, 1, 2) if self.bands == "rgb" else self.rgb_bands


class SimilarityConfig(Section):
    """L_sim, SimSiam's negative cosine similarity of prediction and projection."""

    stop_gradient: StrictBool = Field(True, description="stop the gradient through z, as in SimSiam")


class ImageAwareConfig(Section):
    """L_ia, the Image-Aware Contrastive loss of Eq. 1, and its weight lambda in Eq. 3."""

    weight: NonNegative = Field(0.0, description="lambda of Eq. 3; 0 leaves the loss out")
    temperature: Positive = Field(0.3, description="tau of Eq. 1")
    form: Literal["outside", "in", "out"] = Field("outside", description="Eq. 1, or SupCon's L_in or L_out")
    vectors: Literal["crossed", "projections", "predictions"] = Field(
        "crossed", description="[p1, z2] and [p2, z1] averaged, or [z1, z2], or [p1, p2]"
    )
    stop_gradient: StrictBool = Field(False, description="stop the gradient through z in L_ia")
    factor: Positive | Literal["tau/0.07"] = Field(
        1.0, description="factor that multiplies L_ia: a number, or tau/0.07"
    )
    shards: PositiveInt = Field(
        1, description="number of parts of the shuffled batch on which L_ia is computed separately"
    )


class LossesConfig(Section):
    """The total loss of Eq. 3: L = L_sim + lambda L_ia, where another method has its own loss for L_sim."""

    similarity: SimilarityConfig = SimilarityConfig()
    image_aware: ImageAwareConfig = ImageAwareConfig()


class BackboneConfig(Section):
    """The network that is pre-trained."""

    name: str = Field(
        "resnet50",
        description="a torchvision ResNet or any timm model; with backbone.init, the network of its weights if unset",
    )
    init: str | None = Field(None, description="initial weights: a run folder or a checkpoint file; unset: random init")
    init_license: str | None = Field(
        None, description="license of the initial weights, for the cards of what is made from them"
    )
    zero_init_residual: StrictBool = Field(
        True, description="zero-initialize the last normalization of each residual branch, for random initial weights"
    )
    freeze_patch_projection: StrictBool = Field(
        False,
        description="never train a vision transformer's patch projection, which keeps its training stable (MoCo v3)",
    )


class MonitorConfig(Section):
    """What is watched while a run trains: collapse of the projections, and the quality of the backbone's features."""

    on_collapse: Literal["warn", "stop"] = Field(
        "stop", description="what to do when collapse persists: warn or stop the run"
    )
    every: PositiveInt = Field(50, description="steps between two measurements")
    patience: PositiveInt = Field(5, description="consecutive measurements with collapse before a run stops")
    min_std: NonNegative = Field(
        0.8, description="fraction of 1/sqrt(d) below which the standard deviation counts as low"
    )
    min_rank: NonNegative = Field(
        0.3,
        description="fraction of the run's highest effective rank below which the rank counts as low; collapse is both",
    )
    eval_labels: str | None = Field(
        None, description="labels of some of the images, by which the backbone is measured as it trains"
    )
    eval_val_labels: str | None = Field(
        None, description="labels of the images to measure on; unset: a third of those of eval_labels"
    )
    eval_every: PositiveInt | None = Field(
        None,
        description="steps between two measurements of the backbone; unset: a tenth of the run, but so many that they "
        "take at most about a fifth of its work",
    )
    eval_patience: PositiveInt | None = Field(
        None,
        description="measurements in a row without a better one after which the run ends, not counting those of a "
        "frozen backbone; unset: never",
    )
    eval_size: Annotated[StrictInt, Field(ge=8)] | None = Field(
        None, description="side of the measured images in pixels; unset: twice that of the views, from 64 to 224"
    )
    eval_images: Annotated[StrictInt, Field(ge=6)] = Field(
        1500, description="labeled images that are measured at most, a third of them held out"
    )
    keep_best: Literal["logistic", "knn", "rankme", "dense"] | None = Field(
        None,
        description="measure by which the best weights are kept in best.safetensors: mAP of logistic regression or of "
        "the nearest neighbors, or a label-free measure; unset: logistic, if there are eval_labels",
    )

    loggers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = Field(
        (),
        description="other tools to log figures with, each by its own settings: wandb, mlflow, trackio or several; "
        "TensorBoard's curves are written wherever it is installed",
    )

    @field_validator("loggers", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """Take names as a text, too: wandb, or wandb,mlflow."""
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @property
    def measures_quality(self) -> bool:
        """Whether the backbone is measured as it trains."""
        return self.eval_labels is not None or self.eval_every is not None or self.keep_best is not None

    @property
    def kept_by(self) -> str | None:
        """The measure by which the best weights are kept, if any."""
        return self.keep_best or ("logistic" if self.eval_labels is not None else None)

    @model_validator(mode="after")
    def _labels_fit(self) -> MonitorConfig:
        if self.keep_best in ("logistic", "knn") and self.eval_labels is None:
            raise ValueError(f"keep_best is {self.keep_best}, which needs eval_labels: name a file of labels")
        if self.eval_patience is not None and self.kept_by is None:
            raise ValueError("eval_patience needs a measure to go by: give eval_labels or keep_best")
        if self.eval_val_labels is not None and self.eval_labels is None:
            raise ValueError("eval_val_labels needs eval_labels: name a file of labels to train the classifiers with")
        return self


class PretrainConfig(Section):
    """Configuration of a whole pre-training run."""

    recipe: str = Field("paper", description="the named configuration that other settings override")
    data: DataConfig
    views: ViewsConfig = BlockViewsConfig()
    method: AnyMethod = SimSiamConfig()
    losses: LossesConfig = LossesConfig()
    backbone: BackboneConfig = BackboneConfig()
    training: AnyTraining = SGDConfig()
    monitor: MonitorConfig = MonitorConfig()

    @model_validator(mode="before")
    @classmethod
    def _name_the_default_choices(cls, values: Any) -> Any:
        """Fill in the default option where none is named, as in files older than the choice."""
        if not isinstance(values, Mapping):
            return values
        named = dict(values)
        for choice in CHOICES.values():
            section = named.get(choice.section, {})
            if isinstance(section, Mapping):
                named[choice.section] = {choice.tag: choice.default, **section}
        return named

    @property
    def pairs_per_step(self) -> int:
        """Positive pairs per optimizer step."""
        return self.training.batch_size * self.training.accumulate * self.method.pairs(self.views)

    @property
    def learning_rate(self) -> float:
        """Learning rate by ``training.scaling`` over pairs; by default base x pairs / 256 (paper Section 4.1)."""
        return self.training.base_learning_rate * self.training.scale(self.pairs_per_step)

    @model_validator(mode="after")
    def _bands_fit(self) -> PretrainConfig:
        bands, channels = self.data.bands, self.data.channels
        reds = self.data.rgb_bands
        if reds is not None and bands != "rgb" and (max(reds) >= bands or len(set(reds)) < 3):
            raise ValueError(
                f"data.rgb_bands is {list(reds)}, but must name three different bands from 0 to {bands - 1}, "
                f"as data.bands is {bands}"
            )
        for key in ("mean", "std"):
            numbers = getattr(self.views, key)
            if numbers is not None and len(numbers) != channels:
                raise ValueError(
                    f"views.{key} has {len(numbers)} numbers, but needs one for each of {channels} bands, "
                    f"as data.bands is {bands}"
                )
        return self

    @model_validator(mode="after")
    def _renderer_fits(self) -> PretrainConfig:
        bands, renderer = self.data.bands, self.training.renderer
        if self.data.decode == "device" and bands != "rgb":
            raise ValueError(f"data.decode is device, which decodes JPEGs only; leave it out, as data.bands is {bands}")
        if self.data.decode == "device" and renderer in ("cpu", "reference"):
            raise ValueError(
                f"training.renderer is {renderer}, but with data.decode=device the workers have no pixels to render: "
                "leave one of them out"
            )
        if renderer == "reference" and bands != "rgb":
            raise ValueError(
                f"training.renderer is reference, which is Pillow's and for RGB only; leave it out, as data.bands is "
                f"{bands}"
            )
        return self

    @model_validator(mode="after")
    def _method_fits(self) -> PretrainConfig:
        self.method.positives(self.views)  # raises for views that the method cannot use
        self.method.check_losses(self.losses)
        if self.method.labeled and self.data.labels is None:
            raise ValueError(
                f"method.name is {self.method.name}, which learns from labels: name their file in data.labels "
                "(pretrain --labels)"
            )
        return self

    @model_validator(mode="after")
    def _shards_divide_batch(self) -> PretrainConfig:
        pairs = self.training.batch_size * self.method.pairs(self.views)
        shards = self.losses.image_aware.shards
        if shards > pairs:
            raise ValueError(f"losses.image_aware.shards is {shards}, but a batch has only {pairs} pairs")
        return self
