"""Block-wise views and the image-aware contrastive loss in a custom PyTorch loop.

    python examples/plain_loop.py PHOTOS --epochs 100 --batch-size 64 --workers 8 --out resnet18.pt

PHOTOS is a folder of JPEG and PNG files. The loss is Eq. 3 of arXiv 2506.23156: SimSiam's plus four times L_ia.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18

from manyview.losses import image_aware_loss, negative_cosine_similarity
from manyview.views import BlockViews


class Images(Dataset[tuple[int, Tensor]]):
    """The images of a folder, each as its index and its views (2 x blocks, 3, size, size)."""

    def __init__(self, folder: Path, views: BlockViews) -> None:
        self.files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
        self.views = views

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, self.views(self.files[index].read_bytes())


def network() -> tuple[nn.Module, nn.Module]:
    """A ResNet-18 that ends in SimSiam's projector, and the predictor that follows it."""
    encoder = resnet18(weights=None)
    encoder.fc = nn.Sequential(
        *(nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU()),
        *(nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512, affine=False)),
    )
    predictor = nn.Sequential(nn.Linear(512, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 512))
    return encoder, predictor


def total_loss(encoder: nn.Module, predictor: nn.Module, views: Tensor, images: Tensor) -> Tensor:
    """Eq. 3 for a batch of views (images, 2 x blocks, 3, size, size) and the indices of their images."""
    # Views 2k and 2k + 1 of an image are a positive pair: both show block k.
    z1, z2 = (encoder(views[:, first::2].flatten(0, 1)) for first in (0, 1))
    p1, p2 = predictor(z1), predictor(z2)
    similarity = (negative_cosine_similarity(p1, z2.detach()) + negative_cosine_similarity(p2, z1.detach())) / 2

    blocks = views.shape[1] // 2
    ids = images.repeat_interleave(blocks).repeat(2)  # the image of each vector below
    image_aware = (image_aware_loss(torch.cat((p1, z2)), ids) + image_aware_loss(torch.cat((p2, z1)), ids)) / 2
    return similarity + 4 * image_aware


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of images")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64, help="images a step")
    parser.add_argument("--view-size", type=int, default=224)
    parser.add_argument("--grid", type=int, nargs=2, default=(2, 2), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the weights")
    return parser.parse_args()


def main() -> None:
    """Train, and print the loss of each epoch."""
    options = parse()
    torch.manual_seed(options.seed)
    dataset = Images(options.photos, BlockViews(options.view_size, grid=tuple(options.grid)))
    if len(dataset) < options.batch_size:
        raise SystemExit(f"{options.photos} holds {len(dataset)} images, less than a batch of {options.batch_size}")
    loader = DataLoader(dataset, options.batch_size, shuffle=True, drop_last=True, num_workers=options.workers)
    encoder, predictor = (module.to(options.device) for module in network())
    pairs = options.batch_size * options.grid[0] * options.grid[1]
    weights = [*encoder.parameters(), *predictor.parameters()]
    optimizer = torch.optim.SGD(weights, lr=0.05 * pairs / 256, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)

    for epoch in range(options.epochs):
        losses = []
        for images, views in loader:
            loss = total_loss(encoder, predictor, views.to(options.device), images.to(options.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}", flush=True)
    if options.out:
        torch.save({name: value for name, value in encoder.state_dict().items() if "fc." not in name}, options.out)


if __name__ == "__main__":
    main()
