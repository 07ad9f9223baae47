"""What an atom's surroundings look like: densities of neighbors, radial and angular.

Radial densities count the neighbors of each element on Gaussians of distance. Angular ones are
power spectra of the neighbor density (Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013)):
moments c_lm of each element and radial channel, contracted over m, and so invariant under
rotations and reflections. Both go to zero smoothly at their cutoffs.

Everything here is written for TorchScript. It defines the densities, and computes them on GPUs; on
the CPU a compiled operator does (cpp/kernels/local_densities.h).
"""

import math

import torch
from torch import Tensor, nn

from symgnn.models.blocks import block_end, edge_block


def ramp(length: Tensor, position: float, width: float) -> Tensor:
    """Smooth step from 1 to 0 around ``position`` (Å) with zero slope at both ends."""
    fraction = ((position + 0.5 * width - length) / width).clamp(0.0, 1.0)
    return fraction * fraction * (3.0 - 2.0 * fraction)


def spherical_harmonics(direction: Tensor, degree: int) -> Tensor:
    """Real spherical harmonics of degrees 1 … degree, normalized so that Σ_m Y_lm² = 1.

    Args:
        direction: [E, 3], unit vectors.
        degree: largest l.

    Returns:
        [E, degree (degree + 2)]: for each l, m = 0, then cosine and sine of m = 1 … l.
    """
    x, y, z = direction[:, 0], direction[:, 1], direction[:, 2]
    cosine, sine = [torch.ones_like(x)], [torch.zeros_like(x)]
    for m in range(1, degree + 1):
        cosine.append(x * cosine[m - 1] - y * sine[m - 1])
        sine.append(x * sine[m - 1] + y * cosine[m - 1])
    # Associated Legendre functions over sin^m θ, by the recursion in l at fixed m.
    legendre: list[list[Tensor]] = []
    start = 1.0
    for m in range(degree + 1):
        if m > 0:
            start *= 2.0 * m - 1.0
        column = [torch.full_like(z, start)]
        for l in range(m + 1, degree + 1):  # noqa: E741
            value = (2.0 * l - 1.0) * z * column[l - m - 1]
            if l > m + 1:
                value = value - (l + m - 1.0) * column[l - m - 2]
            column.append(value / float(l - m))
        legendre.append(column)
    harmonics: list[Tensor] = []
    for l in range(1, degree + 1):  # noqa: E741
        harmonics.append(legendre[0][l])
        factor = 2.0
        for m in range(1, l + 1):
            factor /= float((l - m + 1) * (l + m))
            value = math.sqrt(factor) * legendre[m][l - m]
            harmonics.append(value * cosine[m])
            harmonics.append(value * sine[m])
    return torch.stack(harmonics, dim=1)


class LocalDensities(nn.Module):
    """Densities around each atom, from the edges of which it is the center.

    Args:
        elements: S.
        cutoff: of the radial densities, Å.
        radial: number of Gaussians of width 0.2 Å between 2 Å and the cutoff, per element.
        coarse: number of Gaussians of width 0.4 Å between 2 and 5 Å, per element, kept apart.
        radii, widths: of the Gaussians that weight the moments, Å.
        degree: largest l of the moments.
        angular_cutoff: Å.
    """

    radial_centers: Tensor
    coarse_centers: Tensor
    radii: Tensor
    widths: Tensor
    pairs: Tensor

    def __init__(
        self,
        elements: int,
        *,
        cutoff: float,
        radial: int,
        coarse: int,
        radii: list[float],
        widths: list[float],
        degree: int,
        angular_cutoff: float,
    ) -> None:
        super().__init__()
        self.elements, self.degree = elements, degree
        self.cutoff, self.angular_cutoff = cutoff, angular_cutoff
        self.radial_width, self.cutoff_ramp = 0.2, 1.0
        self.coarse_width, self.coarse_reach, self.coarse_ramp = 0.4, 5.2, 0.6
        self.smallest_length = 1e-6  # two atoms on one spot have no direction
        centers = torch.linspace(2.0, cutoff - self.radial_width, radial)
        self.register_buffer("radial_centers", centers, persistent=False)
        self.register_buffer("coarse_centers", torch.linspace(2.0, 5.0, coarse), persistent=False)
        self.register_buffer("radii", torch.tensor(radii), persistent=False)
        self.register_buffer("widths", torch.tensor(widths), persistent=False)
        channels = elements * len(radii)
        first, second = torch.triu_indices(channels, channels).unbind()
        self.register_buffer("pairs", first * channels + second, persistent=False)
        self.radial = radial * elements
        self.angular = degree * channels * (channels + 1) // 2
        self.coarse = coarse * elements

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Densities [n, radial + angular + coarse] of the centers from the first to the last.

        Args:
            species: [N], index of the element.
            edge_index: [2, E], sorted by center; E > 0.
            edge_vector: [E, 3], Å.
        """
        if torch.ops.symgnn.has_kernel("local_densities", edge_vector):
            found: Tensor = torch.ops.symgnn.local_densities(
                species,
                edge_index,
                edge_vector,
                self.elements,
                self.radial_centers,
                self.radial_width,
                self.cutoff,
                self.cutoff_ramp,
                self.coarse_centers,
                self.coarse_width,
                self.coarse_reach + 0.5 * self.coarse_ramp,
                self.coarse_ramp,
                self.radii,
                self.widths,
                self.degree,
                self.angular_cutoff,
                self.smallest_length,
            )
            return found
        return self.plain(species, edge_index, edge_vector)

    def plain(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """What ``forward`` gives, as defined, on any device, in blocks of edges."""
        center, neighbor = edge_index[0], edge_index[1]
        first = int(center[0].item())
        rows = int(center[-1].item()) - first + 1
        harmonics = self.degree * (self.degree + 2)
        gaussians = self.radial_centers.size(0) + self.coarse_centers.size(0)
        columns = gaussians + harmonics * self.radii.size(0)
        result = torch.empty(
            [rows, self.radial + self.angular + self.coarse],
            dtype=edge_vector.dtype,
            device=edge_vector.device,
        )
        # Atoms inside the range that have no edges keep densities of zero.
        result.zero_()
        begin = 0
        while begin < center.size(0):
            end = block_end(center, begin, edge_block(edge_vector))
            low = int(center[begin].item())
            count = int(center[end - 1].item()) - low + 1
            row = (center[begin:end] - low) * self.elements
            row = row + species.index_select(0, neighbor[begin:end])
            gathered = torch.zeros(
                [count * self.elements, columns],
                dtype=edge_vector.dtype,
                device=edge_vector.device,
            )
            gathered.index_add_(0, row, self._of_edges(edge_vector[begin:end]))
            result[low - first : low - first + count] = self._of_atoms(
                gathered.view(count, self.elements, columns)
            )
            begin = end
        return result

    def _of_edges(self, edge_vector: Tensor) -> Tensor:
        """Radial and coarse Gaussians and weighted harmonics of each edge, [E, columns]."""
        return torch.cat(
            [
                self.radial_of(edge_vector),
                self.coarse_of(edge_vector),
                self.moments_of(edge_vector),
            ],
            dim=1,
        )

    def radial_of(self, edge_vector: Tensor) -> Tensor:
        """Radial Gaussians of each edge, [E, radial / S]."""
        column = self._length(edge_vector)[:, None]
        radial = torch.exp(-0.5 * ((column - self.radial_centers) / self.radial_width).square())
        return radial * ramp(column, self.cutoff - 0.5 * self.cutoff_ramp, self.cutoff_ramp)

    def coarse_of(self, edge_vector: Tensor) -> Tensor:
        """Coarse Gaussians of each edge, [E, coarse / S]."""
        column = self._length(edge_vector)[:, None]
        coarse = torch.exp(-0.5 * ((column - self.coarse_centers) / self.coarse_width).square())
        return coarse * ramp(column, self.coarse_reach, self.coarse_ramp)

    def moments_of(self, edge_vector: Tensor) -> Tensor:
        """Weighted harmonics of each edge, [E, degree (degree + 2) · radii]."""
        length = self._length(edge_vector)
        column = length[:, None]
        weight = torch.exp(-0.5 * ((column - self.radii) / self.widths).square())
        near = (length / self.angular_cutoff).clamp(max=1.0)
        weight = weight * (0.5 * (1.0 + torch.cos(math.pi * near)))[:, None]
        harmonics = spherical_harmonics(edge_vector / column, self.degree)
        return (harmonics[:, :, None] * weight[:, None, :]).flatten(1)

    def _length(self, edge_vector: Tensor) -> Tensor:
        return edge_vector.square().sum(1).sqrt().clamp(min=self.smallest_length)

    def _of_atoms(self, gathered: Tensor) -> Tensor:
        """Sums over edges [n, S, columns] to densities [n, radial + angular + coarse]."""
        fine, coarse = self.radial_centers.size(0), self.coarse_centers.size(0)
        return torch.cat(
            [
                gathered[:, :, :fine].flatten(1),
                self.spectra(gathered[:, :, fine + coarse :]),
                gathered[:, :, fine : fine + coarse].flatten(1),
            ],
            dim=1,
        )

    def spectra(self, moments: Tensor) -> Tensor:
        """Angular densities [n, angular] from moments [n, S, degree (degree + 2) · radii]."""
        atoms, width = moments.size(0), self.radii.size(0)
        moments = moments.reshape(atoms, self.elements, -1, width)
        moments = moments.permute(0, 2, 1, 3).reshape(atoms, -1, self.elements * width)
        parts: list[Tensor] = []
        begin = 0
        for l in range(1, self.degree + 1):  # noqa: E741
            moment = moments[:, begin : begin + 2 * l + 1]
            spectrum = torch.bmm(moment.transpose(1, 2), moment).flatten(1)
            parts.append(spectrum.index_select(1, self.pairs))
            begin += 2 * l + 1
        return torch.cat(parts, dim=1)
