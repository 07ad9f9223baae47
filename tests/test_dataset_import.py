"""The paper's pickles become extended XYZ, and a hostile pickle does nothing."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.io import read

from symgnn.cli import run
from symgnn.dataset_import import read_published_pickle
from symgnn.errors import DatasetError
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from pathlib import Path


def published(count: int = 40, **changes: Any) -> dict[str, Any]:
    generator = np.random.default_rng(3)
    content = {
        "positions": generator.uniform(-5, 5, (count, 3)),
        "types": generator.integers(1, 3, count),
        "box": np.array([10.0, 11.0, 12.0]),
        "trajectory_start_velocities": generator.normal(1.6, 0.3, (count, 1)),
    }
    return {**content, **changes}


def as_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("float_type", ["f4", "f8", ">f8"])
def test_every_pickle_protocol_gives_the_same_structure(
    tmp_path: Path, protocol: int, float_type: str
) -> None:
    content = published()
    for key in ("positions", "box", "trajectory_start_velocities"):
        content[key] = np.asfortranarray(content[key].astype(float_type))
    atoms = read_published_pickle(as_pickle(tmp_path / "glass.pkl", content, protocol))
    assert atoms.pbc.all()
    np.testing.assert_array_equal(atoms.cell.lengths(), [10, 11, 12])
    np.testing.assert_array_equal(
        atoms.positions, content["positions"].astype(float) + content["box"].astype(float) / 2
    )
    np.testing.assert_array_equal(
        atoms.arrays["energy_barrier"], content["trajectory_start_velocities"].ravel()
    )
    expected = ["Cu" if kind == 1 else "Zr" for kind in content["types"]]
    assert atoms.get_chemical_symbols() == expected


def test_pickles_of_numpy_1_and_2_are_both_read(tmp_path: Path) -> None:
    text = pickle.dumps(published(), protocol=2)
    assert b"numpy._core.multiarray" in text or b"numpy.core.multiarray" in text
    for number, core in enumerate((b"numpy.core.multiarray", b"numpy._core.multiarray")):
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(
            text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray").replace(
                b"numpy.core.multiarray", core
            )
        )
        assert len(read_published_pickle(path)) == 40


def test_labels_may_be_flat_or_missing(tmp_path: Path) -> None:
    flat = published(trajectory_start_velocities=np.full(40, 1.5))
    atoms = read_published_pickle(as_pickle(tmp_path / "flat.pkl", flat))
    np.testing.assert_array_equal(atoms.arrays["energy_barrier"], 1.5)
    unlabeled = published()
    del unlabeled["trajectory_start_velocities"]
    atoms = read_published_pickle(as_pickle(tmp_path / "unlabeled.pkl", unlabeled))
    assert "energy_barrier" not in atoms.arrays


class Command:
    """Unpickles to a shell command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("place", ["top", "value", "in an array", "under a key"])
def test_a_hostile_pickle_is_refused_and_runs_nothing(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    command = Command(marker)
    content: object = {
        "top": command,
        "value": published(box=command),
        "in an array": published(types=np.array([command], dtype=object)),
        "under a key": published(comment=[{"note": command}]),
    }[place]
    path = as_pickle(tmp_path / "hostile.pkl", content)
    assert run(["import-dataset", str(path), "-o", str(tmp_path / "out.xyz")]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "refused" in message
    if place != "in an array":  # numpy names the array's type before its contents
        assert f"{os.system.__module__}.system" in message
    assert not marker.exists()
    assert not (tmp_path / "out.xyz").exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cbuiltins\nobject\n(I0\ntS'b'\ntR.",
        b"cnumpy\nndarray\n(I5\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.",
    ],
)
def test_other_globals_and_misused_ones_are_refused(tmp_path: Path, opcodes: bytes) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(opcodes)
    with pytest.raises(DatasetError):
        read_published_pickle(path)


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        ([1, 2, 3], "holds a list"),
        ({"positions": np.zeros((1, 3))}, "has no types, box"),
        (published(positions=np.zeros((40, 2))), "positions have shape"),
        (published(positions=np.full((40, 3), np.nan)), "not finite"),
        (published(types=np.zeros(3)), "types have shape"),
        (published(box=np.zeros(3)), "three positive lengths"),
        (published(box="large"), "box is not an array of numbers"),
        (published(trajectory_start_velocities=np.zeros(7)), "labels have shape"),
    ],
)
def test_other_layouts_are_named(tmp_path: Path, content: object, remark: str) -> None:
    with pytest.raises(DatasetError, match=remark):
        read_published_pickle(as_pickle(tmp_path / "other.pkl", content))


def test_a_type_without_an_element_is_named(tmp_path: Path) -> None:
    path = as_pickle(tmp_path / "glass.pkl", published(types=np.full(40, 3)))
    with pytest.raises(DatasetError, match="atoms of type 3"):
        read_published_pickle(path)


@pytest.mark.parametrize("damage", [slice(0, 0), slice(0, 300), slice(5, None)])
def test_a_damaged_pickle_is_named(tmp_path: Path, damage: slice) -> None:
    path = tmp_path / "damaged.pkl"
    path.write_bytes(pickle.dumps(published())[damage])
    with pytest.raises(DatasetError, match=r"damaged\.pkl"):
        read_published_pickle(path)


def test_import_dataset_writes_one_file_each(tmp_path: Path) -> None:
    pickles = [str(as_pickle(tmp_path / f"{name}.pkl", published())) for name in "ab"]
    folder = tmp_path / "new" / "glasses"
    assert run(["import-dataset", *pickles, "-o", str(folder), "--elements", "Cu", "Zr"]) == 0
    for name in "ab":
        atoms = read(folder / f"{name}.xyz")
        np.testing.assert_allclose(
            atoms.arrays["energy_barrier"],
            published()["trajectory_start_velocities"].ravel(),
            atol=1e-8,
        )
    assert run(["import-dataset", *pickles, "-o", str(tmp_path / "one.xyz")]) == 1


@pytest.mark.parametrize("name", ["one.xyz", "one.xyz.gz", "one.extxyz.xz"])
def test_import_dataset_writes_one_file(tmp_path: Path, name: str) -> None:
    published_file = as_pickle(tmp_path / "a.pkl", published())
    output = tmp_path / name
    assert run(["import-dataset", str(published_file), "-o", str(output)]) == 0
    assert output.is_file()
    (atoms,) = read_structures(output)
    assert "energy_barrier" in atoms.arrays


def test_two_pickles_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = []
    for folder in "ab":
        (tmp_path / folder).mkdir()
        paths.append(str(as_pickle(tmp_path / folder / "glass.pkl", published())))
    assert run(["import-dataset", *paths, "-o", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()
