"""Weight files of other projects, which users download: where they lie, and that they are what was published.

The files are pickles and TorchScript, which can run code as soon as they are loaded. Each is therefore compared with
its known SHA-256 before another package loads it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pg2lib.errors import DataError
from pg2lib.files import sha256_of

SHA256 = {
    "inception-2015-12-05.pt": "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    "weights-inception-2015-12-05-6726825d.pth": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "alexnet-owt-7be5be79.pth": "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "vgg16-397923af.pth": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "squeezenet1_1-b8a52dc0.pth": "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
}
"""The known files, by name."""


def weights_folder() -> Path:
    """Return the folder in which torch's hub keeps weight files."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def find_weights(name: str) -> Path | None:
    """Return the path of a known file, or None if it is not in `weights_folder`.

    Args:
        name: one of `SHA256`.

    Raises:
        DataError: There is a file of this name, but it is not the published one.
    """
    path = weights_folder() / name
    if not path.is_file():
        return None
    if (found := sha256_of(path)) != SHA256[name]:
        raise DataError(
            f"{path} is damaged or not the published file, and is not loaded, as it could run code: expected the "
            f"SHA-256 {SHA256[name]}, got {found}; remove it and download it again"
        )
    return path
