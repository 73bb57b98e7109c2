"""Frozen, validated configuration: its schema, the merging of its layers, and errors that say what to change."""

from manyview.config.methods import MethodSection, SimSiamConfig
from manyview.config.resolve import ConfigError, parse_assignment, resolve
from manyview.config.schema import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneConfig,
    DataConfig,
    ImageAwareConfig,
    LossesConfig,
    MonitorConfig,
    PretrainConfig,
    SimilarityConfig,
    ViewsConfig,
)
from manyview.config.training import AdamWConfig, LARSConfig, SGDConfig, TrainingConfig
from manyview.config.views import (
    Augmentation,
    BlockAndWholeViewsConfig,
    BlockViewsConfig,
    GroupedViewsConfig,
    ViewGroup,
    ViewGroupConfig,
    ViewsSection,
    WholeViewsConfig,
    in_pairs,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AdamWConfig",
    "Augmentation",
    "BackboneConfig",
    "BlockAndWholeViewsConfig",
    "BlockViewsConfig",
    "ConfigError",
    "DataConfig",
    "GroupedViewsConfig",
    "ImageAwareConfig",
    "LARSConfig",
    "LossesConfig",
    "MethodSection",
    "MonitorConfig",
    "PretrainConfig",
    "SGDConfig",
    "SimSiamConfig",
    "SimilarityConfig",
    "TrainingConfig",
    "ViewGroup",
    "ViewGroupConfig",
    "ViewsConfig",
    "ViewsSection",
    "WholeViewsConfig",
    "in_pairs",
    "parse_assignment",
    "resolve",
]
