"""The pictures of a batch, one by one."""

from __future__ import annotations

import pytest
import torch

from pg2lib.output import PG2Batch


def test_a_batch_is_a_sequence_of_pictures_that_share_its_time() -> None:
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 4, 2)
    batch = PG2Batch(images + 10, images + 20, images + 30, images + 40, matte=images[:, :1], seconds=6.0)
    assert len(batch) == 3
    for number, output in enumerate(batch):
        assert [float(part[0, 0, 0]) for part in (output.condition_image, output.coarse)] == [10 + number, 20 + number]
        assert [float(part[0, 0, 0]) for part in (output.difference_map, output.refined)] == [30 + number, 40 + number]
        assert output.matte is not None and float(output.matte[0, 0, 0]) == number
        assert (output.warped, output.coverage, output.seconds) == (None, None, 2.0)
    assert torch.equal(batch[-1].refined, batch[2].refined)
    for index in (3, -4):
        with pytest.raises(IndexError):
            batch[index]
