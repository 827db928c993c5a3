"""Training checkpoints on disk: every byte of them counts."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pg2lib import CheckpointError, PG2Config
from pg2lib.models import G1
from pg2lib.training.checkpoint import (
    TrainingState,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_generator,
    save_checkpoint,
)

CONFIG = PG2Config.preset("fast").override({"model.height": 32, "model.width": 16, "model.base_width": 2})


def state_of(seed: int = 0) -> TrainingState:
    """G1 and its optimiser after one step."""
    torch.manual_seed(seed)
    g1 = G1(CONFIG.model)
    optimiser = torch.optim.Adam(g1.parameters())
    sum(parameter.square().sum() for parameter in g1.parameters()).backward()
    optimiser.step()
    return TrainingState({"g1": g1}, {"g1": optimiser}, {"model.base_width": 2})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two checkpoints, of other weights."""
    for step in (2, 4):
        save_checkpoint(tmp_path, step, state_of(step), CONFIG)
    return tmp_path


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.9, 0.9999])
@pytest.mark.parametrize("bit", [0, 5])
def test_a_flipped_bit_anywhere_gives_the_checkpoint_before(folder: Path, share: float, bit: int) -> None:
    """In the header too: step, settings, names and shapes are there."""
    newest = list_checkpoints(folder)[-1]
    flip(newest, int(share * newest.stat().st_size), bit)
    found = find_checkpoint(folder)
    assert found is not None
    assert (found.path.name, found.step) == ("step-00000002.safetensors", 2)
    assert len(found.damaged) == 1 and found.damaged[0].startswith(f"{newest} is damaged: ")
    state = state_of(9)
    load_checkpoint(found, state)
    assert torch.equal(weights(state.models["g1"]), weights(state_of(2).models["g1"]))


@pytest.mark.parametrize("key", ["step", "config", "identity"])
def test_the_metadata_count_too(folder: Path, key: str) -> None:
    path = list_checkpoints(folder)[-1]
    with safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    metadata[key] = metadata[key].replace("4" if key == "step" else "2", "3")
    save_file(tensors, path, metadata)
    assert find_checkpoint(folder).step == 2


def test_a_truncated_one_and_an_empty_one_are_stepped_over(folder: Path) -> None:
    save_checkpoint(folder, 6, state_of(), CONFIG, keep=3)
    for path, length in zip(list_checkpoints(folder)[1:], (0, 1000), strict=True):
        path.write_bytes(path.read_bytes()[:length])
    found = find_checkpoint(folder)
    assert (found.step, len(found.damaged)) == (2, 2)


def test_without_a_sound_one_all_are_named(folder: Path) -> None:
    for path in list_checkpoints(folder):
        flip(path, -10)
    with pytest.raises(CheckpointError, match=r"step-00000004\.safetensors.*step-00000002\.safetensors"):
        find_checkpoint(folder)


def test_a_generator_of_a_damaged_checkpoint_is_taken_from_the_one_before_with_a_word(folder: Path, caplog) -> None:
    flip(list_checkpoints(folder)[-1], -10)
    with caplog.at_level(logging.WARNING):
        g1 = load_generator(folder, G1, "g1")
    assert torch.equal(weights(g1), weights(state_of(2).models["g1"]))
    assert "step-00000004.safetensors is damaged" in caplog.text
    assert "G1 is taken from step-00000002.safetensors" in caplog.text


def test_the_one_gone_on_from_is_kept_until_others_are_written(folder: Path) -> None:
    """A damaged one of more steps does not count among the newest two."""
    flip(list_checkpoints(folder)[-1], -10)
    save_checkpoint(folder, 3, state_of(), CONFIG)
    assert [path.name[5:13] for path in list_checkpoints(folder)] == ["00000002", "00000003", "00000004"]
    assert find_checkpoint(folder).step == 3
    save_checkpoint(folder, 4, state_of(), CONFIG)
    assert [path.name[5:13] for path in list_checkpoints(folder)] == ["00000003", "00000004"]
    assert find_checkpoint(folder).step == 4


def test_a_checkpoint_of_another_version_is_no_damage_to_step_over(folder: Path) -> None:
    path = folder / "step-00000009.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"format": "pg2lib training checkpoint 1"})
    with pytest.raises(CheckpointError, match=r"step-00000009\.safetensors.*checkpoint 2'.*checkpoint 1'"):
        find_checkpoint(folder)


def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pg2lib.pipeline_folder.save_file", full)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match=r"step-00000006\.safetensors.*No space left"):
        save_checkpoint(folder, 6, state_of(), CONFIG)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_copy_is_as_good_as_the_file(folder: Path, tmp_path: Path) -> None:
    """Nothing in a checkpoint hangs on where it lies, or on the time of the file."""
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copyfile(list_checkpoints(folder)[-1], copy / "step-00000004.safetensors")
    found = find_checkpoint(copy)
    assert json.loads(found.metadata["identity"]) == {"model.base_width": 2}
    assert found.config == CONFIG
