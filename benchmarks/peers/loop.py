"""Pre-training as lightly's documentation shows it, as a process of its own: SimSiam or SimCLR with a ResNet-18.

    python -m benchmarks.peers.loop simclr --images DIR --list train.csv --out DIR --core-minutes 10 20 40

The parts are lightly's (https://docs.lightly.ai/self-supervised-learning/examples/simsiam.html and simclr.html), with
the heads, the batch and the learning rate of these pages: SGD at a constant .06, without momentum and weight decay.
Weights are saved after each of --core-minutes, which are core time of the process and its loader's; there the training
can go on, should it be stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.arguments import command_line
from benchmarks.processes import core_seconds, tree
from benchmarks.views.contestants import JITTER, KERNEL, SCALE, SIGMA
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.images import find_images

METHODS = ("simsiam", "simclr")
TRANSFORMS = ("lightly", "torchvision")
LOG_EVERY = 10  # steps, and after the first
FEATURES = 512  # of a ResNet-18


class SimSiam(nn.Module):
    """Both vectors of a view, and the loss of a pair of views."""

    def __init__(self, backbone: nn.Module, dims: Sequence[int]) -> None:
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead

        super().__init__()
        hidden, out, bottleneck = dims
        self.backbone, self.criterion = backbone, NegativeCosineSimilarity()
        self.projection_head = SimSiamProjectionHead(FEATURES, hidden, out)
        self.prediction_head = SimSiamPredictionHead(out, bottleneck, out)

    def forward(self, view: Float[Tensor, "images 3 side side"]) -> tuple[Tensor, Tensor]:
        z = self.projection_head(self.backbone(view).flatten(start_dim=1))
        return z.detach(), self.prediction_head(z)

    def pair_loss(self, one: Any, other: Any) -> Tensor:
        (z0, p0), (z1, p1) = one, other
        return 0.5 * (self.criterion(z0, p1) + self.criterion(z1, p0))


class SimCLR(nn.Module):
    """A view's vector, and the loss of a pair of views."""

    def __init__(self, backbone: nn.Module, dims: Sequence[int]) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        super().__init__()
        hidden, out, _ = dims
        self.backbone, self.criterion = backbone, NTXentLoss()
        self.projection_head = SimCLRProjectionHead(FEATURES, hidden, out)

    def forward(self, view: Float[Tensor, "images 3 side side"]) -> Tensor:
        return self.projection_head(self.backbone(view).flatten(start_dim=1))

    def pair_loss(self, one: Any, other: Any) -> Tensor:
        return self.criterion(one, other)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    resnet = torchvision.models.resnet18()
    kind = SimSiam if options.method == "simsiam" else SimCLR
    model = kind(nn.Sequential(*list(resnet.children())[:-1]), options.dims)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=options.rate, momentum=options.momentum, weight_decay=options.weight_decay
    )
    Loop(model, optimizer, resnet, options).run()


class Loop:
    """A training with its log, and its state as of the last saved weights.

    Args:
        model: trained in place, with its optimizer.
        resnet: the network whose layers the model's backbone has, and whose weights are saved.
        options: of the command.
    """

    def __init__(
        self, model: SimSiam | SimCLR, optimizer: torch.optim.Optimizer, resnet: nn.Module, options: argparse.Namespace
    ) -> None:
        self.model, self.optimizer, self.resnet, self.options = model, optimizer, resnet, options
        self.step, self.spent, self._state = 0, 0.0, options.out / "state.pt"
        if self._state.is_file():
            kept = torch.load(self._state, weights_only=True)
            model.load_state_dict(kept["model"])
            optimizer.load_state_dict(kept["optimizer"])
            self.step, self.spent = kept["step"], kept["core_seconds"]
            torch.manual_seed(options.seed + self.step)  # else the order of the first epochs would come again

    @property
    def core_seconds(self) -> float:
        """Core time of this process, its children and those that it was stopped and started again from."""
        return self.spent + core_seconds(tree(os.getpid()))

    def run(self) -> None:
        """Train up to the last of --core-minutes, or of --steps."""
        marks = [mark for mark in self.options.core_minutes if 60 * mark > self.spent]
        for views in epochs(self.options) if marks or self.step < self.options.steps else ():
            loss = self._train(views)
            if self.step == 1 or self.step % LOG_EVERY == 0:
                self._log(loss)
            while marks and self.core_seconds >= 60 * marks[0]:
                self._save(marks.pop(0))
            if not marks and self.step >= self.options.steps:
                return

    def _train(self, views: Sequence[Tensor]) -> float:
        vectors = [self.model(view) for view in views]
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        loss = torch.stack([self.model.pair_loss(one, other) for one, other in pairs]).mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return float(loss.detach())

    def _log(self, loss: float) -> None:
        line = {"kind": "step", "step": self.step, "loss": loss, "core_seconds": self.core_seconds}
        with (self.options.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self, mark: float) -> None:
        """Weights under the names of torchvision, how much they have seen, and all that goes on from there."""
        spent = self.core_seconds
        images = self.step * self.options.batch_size
        told = {"step": self.step, "images": images, "views": 2 * self.options.pairs * images, "core_seconds": spent}
        kept = {**told, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(kept, self._state)
        torch.save(self.resnet.state_dict(), weights_at(self.options.out, mark))
        weights_at(self.options.out, mark).with_suffix(".json").write_text(json.dumps(told))


def weights_at(folder: Path, mark: float) -> Path:
    """Weights as of some core minutes; their story is beside them as JSON."""
    return folder / f"weights-{mark:g}.pt"


def epochs(options: argparse.Namespace) -> Iterator[Sequence[Tensor]]:
    """The views of one batch after the other, of one epoch after the other."""
    from lightly.data import LightlyDataset

    names = find_images(options.images, options.list)
    transform = multi_view(options)
    dataset = LightlyDataset(str(options.images), transform=transform, filenames=list(names))
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=options.batch_size, shuffle=True, drop_last=True, num_workers=options.workers
    )
    for _ in itertools.count():
        for views, *_ in loader:
            yield views


def multi_view(options: argparse.Namespace) -> Callable[[Any], list[Tensor]]:
    """From an image to two views for each pair."""
    from lightly.transforms.multi_view_transform import MultiViewTransform
    from lightly.transforms.simclr_transform import SimCLRViewTransform
    from lightly.transforms.simsiam_transform import SimSiamViewTransform

    if options.transform == "torchvision":
        view: Any = torchvision_view(options.view_size)
    elif options.method == "simsiam":
        view = SimSiamViewTransform(input_size=options.view_size)
    else:  # without blur, as in lightly's example for small views
        view = SimCLRViewTransform(input_size=options.view_size, gaussian_blur=0.0)
    several: Callable[[Any], list[Tensor]] = MultiViewTransform([view] * (2 * options.pairs))
    return several


def torchvision_view(size: int) -> Callable[[Any], Tensor]:
    """SimSiam's augmentations by torchvision's second transforms, on uint8 tensors."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(size, scale=SCALE),
            v2.RandomApply([v2.ColorJitter(*JITTER)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(KERNEL, SIGMA)], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--list", type=Path, help="CSV of the images to train on; unset: all in the folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--transform", choices=TRANSFORMS, default="lightly", help="whose views")
    parser.add_argument("--view-size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=1, help="pairs of views of an image")
    parser.add_argument("--batch-size", type=int, default=256, help="images a step")
    parser.add_argument("--rate", type=float, default=0.06, help="learning rate, constant")
    parser.add_argument("--momentum", type=float, default=0.0)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument(
        "--dims", type=int, nargs=3, default=[512, 128, 64], help="heads: hidden, out, predictor's hidden"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="steps to train for, at least")
    parser.add_argument(
        "--core-minutes", type=float, nargs="+", default=[], help="when weights are saved; the last ends"
    )
    options = parser.parse_args(arguments)
    options.core_minutes.sort()
    return options


if __name__ == "__main__":
    main()
