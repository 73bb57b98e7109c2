"""Block-wise views in lightly: its dataset, heads and loss, with ``BlockViews`` in place of its ``SimSiamTransform``.

    pip install 'manyview[examples]'
    python examples/lightly_simsiam.py PHOTOS --epochs 100 --batch-size 64 --workers 8

lightly's transforms return a list of views, which PyTorch's default collation turns into a list of batches; so does
``BlockViews(stacked=False)``.
"""

from __future__ import annotations

import argparse

import torch
from lightly.data import LightlyDataset
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from manyview.views import BlockViews


class SimSiam(nn.Module):
    """A ResNet-18 with lightly's projection and prediction head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet18(weights=None)
        self.backbone.fc = nn.Identity()
        self.projection_head = SimSiamProjectionHead(512, 512, 512)
        self.prediction_head = SimSiamPredictionHead(512, 128, 512)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Prediction and detached projection of images (B, 3, H, W)."""
        z = self.projection_head(self.backbone(x))
        return self.prediction_head(z), z.detach()


def main() -> None:
    """Train, and print the loss of each epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="folder of images")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64, help="images a step")
    parser.add_argument("--view-size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    dataset = LightlyDataset(options.photos, transform=BlockViews(options.view_size, stacked=False))
    if len(dataset) < options.batch_size:
        raise SystemExit(f"{options.photos} holds {len(dataset)} images, less than a batch of {options.batch_size}")
    loader = DataLoader(dataset, options.batch_size, shuffle=True, drop_last=True, num_workers=options.workers)
    model = SimSiam().to(options.device)
    criterion = NegativeCosineSimilarity()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05 * options.batch_size * 4 / 256, momentum=0.9)

    for epoch in range(options.epochs):
        losses = []
        for views, _, _ in loader:  # a list of eight batches: the two views of each block in turn
            x1, x2 = (torch.cat(views[first::2]).to(options.device) for first in (0, 1))
            (p1, z1), (p2, z2) = model(x1), model(x2)
            loss = (criterion(p1, z2) + criterion(p2, z1)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}", flush=True)


if __name__ == "__main__":
    main()
