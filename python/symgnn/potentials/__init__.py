"""The interatomic potential that ships with SymGNN, as the plain file that LAMMPS reads."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path
from typing import Final

from symgnn.errors import SymGNNError
from symgnn.files import written_whole

CUZR_2009: Final = "CuZr_2009.eam.fs"
"""Cu–Zr, ``pair_style eam/fs``, elements Cu Zr: Mendelev, Kramer, Ott, Sordelet, Yagodin, Popel,
Philosophical Magazine 89, 967 (2009). CDDL-1.0; see ``README.md`` in this folder."""

_FOLDER = Path(__file__).parent
_SHA256 = "7871ba1196a490973d8eb941aefba250a3b9db5b772628157fd937a9a5f9ba39"


def write_potential(path: str | Path) -> Path:
    """Write the 2009 Cu–Zr potential for LAMMPS, whose ``eam/fs`` reads no compressed files.

    Args:
        path: a file name, or an existing folder that gets a ``CuZr_2009.eam.fs``.

    Returns:
        The path of the file.

    Raises:
        SymGNNError: the file cannot be written, or the installed table is damaged.
    """
    target = Path(path)
    if target.is_dir():
        target = target / CUZR_2009
    table = _read_table()
    with written_whole(target) as unfinished:
        unfinished.write_bytes(table)
    return target


def _read_table() -> bytes:
    source = _FOLDER / f"{CUZR_2009}.xz"
    try:
        table = lzma.decompress(source.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise SymGNNError(f"{source} is missing or damaged: install symgnn again") from error
    if hashlib.sha256(table).hexdigest() != _SHA256:
        raise SymGNNError(f"{source} is not the published potential: install symgnn again")
    return table
