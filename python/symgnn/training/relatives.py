"""Structures that are nearly the same: a score on one says little if the other was fitted to.

Snapshots of one run, a glass before and after a small strain, or a minimum found twice keep most of
their neighbors. Atoms are told by number and element: a copy in another order is not recognized.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from symgnn.errors import RelatedStructuresWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from symgnn.graph import Graph
    from symgnn.training.dataset import LabeledGraph

_NEAREST = 12
"""Neighbors of an atom that are compared, on average; about the first shell of a dense glass."""
_ELEMENTS = 118
_NAMED = 3
"""Structures that a warning names."""
_RELATED = 0.5
"""Share of pairs in common above which structures are relatives. Chance gives glasses 12 / N; of
the published Cu-Zr glasses two share all but .003, two .9, and no others more than .07."""


def shared_neighbors(first: Graph, second: Graph) -> float:
    """Share of the pairs of nearest neighbors that two structures have in common, 0 to 1.

    Args:
        first: with a cutoff beyond the nearest neighbors.
        second: with the same cutoff; a structure of another size has nothing in common.
    """
    if len(first.species) != len(second.species):
        return 0.0
    return _shared(_nearest_pairs(first), _nearest_pairs(second))


def families(graphs: Sequence[Graph]) -> list[int]:
    """Number of the family of each structure, from 0 in the order in which they appear.

    Structures with more than half of their pairs in common are of one family, and so are those with
    a common relative.
    """
    family = list(range(len(graphs)))
    size = [len(graph.species) for graph in graphs]
    pairs = [_nearest_pairs(graph) for graph in graphs]
    for number in range(len(graphs)):
        for other in range(number):
            possible = family[other] != family[number] and size[other] == size[number]
            if possible and _shared(pairs[number], pairs[other]) > _RELATED:
                joined = family[other], family[number]
                family = [min(joined) if of in joined else of for of in family]
    order = list(dict.fromkeys(family))
    return [order.index(of) for of in family]


def warn_of_relatives(trained: Sequence[LabeledGraph], scored: Sequence[LabeledGraph]) -> None:
    """Warn, once, where structures of the validation are nearly those of the training.

    Args:
        trained: with the atoms in the order of their files; so the others.
        scored: with the same cutoff.
    """
    known = [(item, _nearest_pairs(item.graph)) for item in trained]
    named = []
    for item in scored:
        pairs = _nearest_pairs(item.graph)
        for other, others in known:
            same_size = len(item.graph.species) == len(other.graph.species)
            if same_size and _shared(pairs, others) > _RELATED:
                named.append(f"{item.name} is nearly the same structure as {other.name}")
                break
    if named:
        more = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        warnings.warn(
            f"validation: {'; '.join(named[:_NAMED])}{more}: scores on it say little about other"
            " structures; validate on another glass",
            RelatedStructuresWarning,
            stacklevel=2,
        )


def _shared(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Share of the pairs of the structure with fewer of them that the other has too."""
    common = np.intersect1d(first, second, assume_unique=True)
    return len(common) / max(min(len(first), len(second)), 1)


def _nearest_pairs(graph: Graph) -> NDArray[np.int64]:
    """The shortest edges, each once, as one number of both atoms and both species."""
    count = len(graph.species)
    length = graph.edge_vector.norm(dim=1).cpu().numpy()
    kept = min(_NEAREST * count, len(length))
    if kept == 0:
        return np.empty(0, dtype=np.int64)
    shortest = np.argpartition(length, kept - 1)[:kept]
    species = graph.species.cpu().numpy()
    center, neighbor = graph.edge_index.cpu().numpy()[:, shortest]
    kind = species[center] * _ELEMENTS + species[neighbor]
    pairs: NDArray[np.int64] = np.unique((kind * count + center) * count + neighbor)
    return pairs
