"""Largest |LAMMPS − Annotator| and |exported − eager| for two glasses, both dtypes, 1 to 4 ranks.

The network is the paper's, with random weights; the shipped `cuzr-fast` comes last.

    python benchmarks/agreement.py [../shared/data/cuzr-barriers/train0.xyz]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from symgnn import read_structures
from symgnn.check import compare_with_lammps
from symgnn.export import export_random
from symgnn.samples import sample_glass


def main() -> None:
    """Print one line per model, glass and number of ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="more glasses, beside the sample")
    glasses = [sample_glass(), *(read_structures(file)[0] for file in parser.parse_args().files)]
    with tempfile.TemporaryDirectory() as folder:
        models = {}
        for dtype in ("float32", "float64"):
            path = Path(folder) / f"{dtype}.pt"
            exported = export_random("paper", ["Cu", "Zr"], path, dtype=dtype)
            print(f"paper, {dtype}: |exported - eager| {exported.largest_difference:.1e} eV")
            models[f"paper, {dtype}"] = str(path)
        models["cuzr-fast, float32"] = "cuzr-fast"
        for name, model in models.items():
            for glass in glasses:
                for result in compare_with_lammps(model, glass, ranks=(1, 2, 4)):
                    print(
                        f"{name}, {result.atoms} atoms, {result.ranks} ranks: "
                        f"|LAMMPS - Annotator| {result.largest_difference:.1e} eV "
                        f"(allowed {result.allowed:.0e})"
                    )


if __name__ == "__main__":
    main()
