"""Train the small network that distinguishes backs from fronts in tight crops (`pg2lib.detect.backs`).

    python benchmarks/facing.py Market-1501-v15.09.15 --out model.safetensors

The labels come from the annotated shoulders: a person whose left shoulder is on the left of the image shows their back.
Training takes about five minutes on one CPU core. The weights in the package were trained in the same way on 10,409 of
the training images; the network has seen no test person.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from pg2lib import read_market1501
from pg2lib.detect.backs import build_back_network, to_back_network
from pg2lib.pose import JOINTS

EPOCHS, BATCH = 10, 64
LEFT_SHOULDER, RIGHT_SHOULDER = JOINTS.index("left shoulder"), JOINTS.index("right shoulder")


def load(root: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Load people whose shoulders are more than 4 px apart: images (n, 3, 64, 32) in [-1, 1], labels (n,), 1 = back."""
    table = read_market1501(root, split)
    facing = table.xy[:, LEFT_SHOULDER, 0] - table.xy[:, RIGHT_SHOULDER, 0]
    rows = (facing.abs() > 4).nonzero().flatten().tolist()
    return torch.stack([to_back_network(table.load(row)) for row in rows]), (facing[rows] < 0).float()


def augment(images: torch.Tensor) -> torch.Tensor:
    """Augment a batch: mirror, change colours and shift a little. None of these turns a back into a front."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    images = torch.where(mirrored, images.flip(-1), images)
    images = images * (1 + 0.2 * torch.randn(len(images), 3, 1, 1)) + 0.15 * torch.randn(len(images), 3, 1, 1)
    down, right = torch.randint(-2, 3, (2,)).tolist()
    return images.roll((down, right), dims=(2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of Market-1501 with its keypoint CSV files")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    options = parser.parse_args()
    torch.manual_seed(0)
    images, backs = load(options.data, "train")
    test_images, test_backs = load(options.data, "test")
    network = build_back_network()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        network.train()
        for rows in torch.randperm(len(images)).split(BATCH):
            loss = F.binary_cross_entropy_with_logits(network(augment(images[rows]))[:, 0], backs[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            odds = torch.cat([network(part)[:, 0] + network(part.flip(-1))[:, 0] for part in test_images.split(512)])
        right = ((odds > 0) == (test_backs > 0)).float().mean()
        print(f"epoch {epoch + 1}: {float(right):.1%} of {len(test_images):,} test images right", flush=True)
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file({name: value.half().contiguous() for name, value in state.items()}, options.out)


if __name__ == "__main__":
    main()
