"""Every wrong file gets the right exception and one line that says what to do."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
import torch

from symgnn import Annotator
from symgnn.errors import ModelError, SymGNNError
from tiny_model import tiny_metadata, tiny_network, write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def refusal(path: Path | str, **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        Annotator(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_missing_file(tmp_path) -> None:
    message = refusal(tmp_path / "absent.pt")
    assert "no model file" in message
    assert "check the path" in message


def test_unknown_name() -> None:
    assert "shipped" in refusal("no-such-model")


def test_folder(tmp_path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_empty_file(tmp_path) -> None:
    path = tmp_path / "empty.pt"
    path.touch()
    assert "is empty" in refusal(path)


@pytest.mark.parametrize("keep", [3, 200, 0.5, 0.99])
def test_truncated_model(tmp_path, keep) -> None:
    whole = write_tiny_model(tmp_path / "whole.pt").read_bytes()
    path = tmp_path / "truncated.pt"
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    message = refusal(path)
    assert "truncated" in message or "not a SymGNN model" in message


def test_damaged_model(tmp_path) -> None:
    data = bytearray(write_tiny_model(tmp_path / "whole.pt").read_bytes())
    start = data.index(b"PK\x01\x02")  # the directory of the archive
    data[start : start + 400] = b"\0" * 400
    path = tmp_path / "damaged.pt"
    path.write_bytes(data)
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("content", [b"ITEM: TIMESTEP\n0\n", b"\x80\x02}q\x00.", b"\x7fELF" * 99])
def test_foreign_file(tmp_path, content) -> None:
    path = tmp_path / "foreign.pt"
    path.write_bytes(content)
    assert "symgnn export" in refusal(path)


def test_other_zip_archive(tmp_path) -> None:
    path = tmp_path / "other.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("document.xml", "<a/>")
    assert "not a SymGNN model" in refusal(path)


def test_checkpoint_names_the_export_command(tmp_path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"model": tiny_network().state_dict(), "epoch": 3}, path)
    message = refusal(path)
    assert "training checkpoint" in message
    assert f"symgnn export {path}" in message


def test_torchscript_of_somebody_else(tmp_path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(tiny_network()), str(path))
    assert "no symgnn.json" in refusal(path)


def test_newer_format(tmp_path) -> None:
    path = write_tiny_model(tmp_path / "newer.pt", metadata=tiny_metadata() | {"format": 2})
    assert "install a newer SymGNN" in refusal(path)


@pytest.mark.parametrize("key", sorted(tiny_metadata()))
def test_missing_key(tmp_path, key) -> None:
    metadata = tiny_metadata()
    del metadata[key]
    message = refusal(write_tiny_model(tmp_path / "model.pt", metadata=metadata))
    assert f"key {key} is missing" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": "one"}'])
def test_bad_json(tmp_path, text) -> None:
    assert "damaged" in refusal(write_tiny_model(tmp_path / "model.pt", metadata=text))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("elements", []),
        ("elements", "CuZr"),
        ("cutoff", -1.0),
        ("layers", 0),
        ("reach", [1.0]),
        ("reach", [1e3] * tiny_metadata()["layers"]),
        ("dtype", "float16"),
        ("outputs", ["energy"]),
        ("outputs", []),
    ],
)
def test_values_that_make_no_sense(tmp_path, key, value) -> None:
    path = write_tiny_model(tmp_path / "model.pt", metadata=tiny_metadata() | {key: value})
    assert "damaged" in refusal(path)


def test_network_that_lacks_the_steps(tmp_path) -> None:
    path = tmp_path / "model.pt"
    module = torch.jit.script(torch.nn.Linear(2, 2))
    import json

    torch.jit.save(module, str(path), _extra_files={"symgnn.json": json.dumps(tiny_metadata())})
    assert "lacks the method start" in refusal(path)


def test_unknown_device(tmp_path) -> None:
    path = write_tiny_model(tmp_path / "model.pt")
    assert "auto, cpu, cuda or cuda:N" in refusal(path, device="gpu")
    assert "absent" in refusal(path, device="cuda:99")


def test_negative_threads(tmp_path) -> None:
    with pytest.raises(SymGNNError, match="threads must be"):
        Annotator(write_tiny_model(tmp_path / "model.pt"), threads=-1)
