"""The alpha complex of a whole periodic structure, for comparison with that of a cluster.

gudhi's Python module has none. Here the Delaunay cells of a padded box are glued along the period:
simplices are sets of atoms, which is a complex where the cell is several edges wide.
"""

from __future__ import annotations

import itertools

import gudhi
import numpy as np

PAD = 8.0  # Å: spheres through atoms of the cell do not reach further in a dense glass


def periodic_persistence(atoms, weights) -> dict[tuple, tuple[float, float]]:
    """α² of birth and death by (birth simplex, death simplex), tuples of indices of atoms.

    Args:
        atoms: fully periodic, at least 10 Å wide.
        weights: [N], Å².
    """
    cell = atoms.cell.array
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    pad = PAD / heights
    home = atoms.get_scaled_positions(wrap=True)
    fractions, index = [], []
    for shift in itertools.product((-1, 0, 1), repeat=3):
        moved = home + shift
        near = np.flatnonzero(((moved > -pad) & (moved < 1 + pad)).all(1))
        # the cell itself comes first
        place = 0 if shift == (0, 0, 0) else len(fractions)
        fractions.insert(place, moved[near])
        index.insert(place, near)
    index = np.concatenate(index)
    points = np.concatenate(fractions) @ cell
    padded = gudhi.AlphaComplex(points=points, weights=weights[index]).create_simplex_tree()
    glued = gudhi.SimplexTree()
    for simplex, value in padded.get_filtration():
        if min(simplex) < len(atoms):  # at least one corner in the cell
            corners = sorted({int(index[corner]) for corner in simplex})
            if len(corners) < len(simplex):
                raise ValueError("the cell is too small: a simplex holds an atom twice")
            glued.insert(corners, value)
    glued.make_filtration_non_decreasing()
    glued.compute_persistence(homology_coeff_field=2, min_persistence=1e-6)
    return {
        (tuple(sorted(birth)), tuple(sorted(death))): (
            glued.filtration(birth),
            glued.filtration(death) if death else np.inf,
        )
        for birth, death in glued.persistence_pairs()
    }
