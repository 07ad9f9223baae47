"""Sampled orthogonal transformations, over which SymGNN averages.

Li et al. (ICML 2024) transform every edge vector by K rotations R = O₁(α) O₂(β) O₃(γ) and by K
non-rotations −R, with von Mises distributed angles whose location and concentration are learned,
separately for the two sets: twelve parameters. Their published code drops the gradient of the
samples; here it is kept (implicit reparameterization, Figurnov et al., NeurIPS 2018).

A product of three von Mises rotations is not the uniform (Haar) measure on O(3), so that choice
is only approximately invariant. ``haar`` is invariant in expectation, ``octahedral`` exactly under
the 48 elements of the cubic group.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Distribution = Literal["von_mises", "haar", "octahedral", "none"]

_QUADRATURE_NODES, _QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(64)
_CPU = torch.device("cpu")
_LARGEST_CONCENTRATION = 1e12  # a spread of 1e-6 radian; torch's sampler never ends far above it


class _ImplicitVonMises(torch.autograd.Function):
    """Identity on a von Mises sample θ ~ VM(0, κ), with dθ/dκ = −(∂F/∂κ)/p(θ) in the backward.

    F is the cumulative distribution. As ∂p/∂κ = (cos t − A(κ)) p(t) with A = I₁/I₀ is even in t
    and integrates to zero, ∂F/∂κ(θ) is its integral from 0 to θ, which a Gauss-Legendre rule
    resolves for any κ; the normalization of p cancels.
    """

    @staticmethod
    def forward(ctx: Any, sample: Tensor, concentration: Tensor) -> Tensor:
        ctx.save_for_backward(sample, concentration)
        return sample.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (gradient,) = gradients
        sample, concentration = (tensor.double() for tensor in ctx.saved_tensors)
        nodes = torch.as_tensor(_QUADRATURE_NODES, device=sample.device)
        weights = torch.as_tensor(_QUADRATURE_WEIGHTS, device=sample.device)
        angle = 0.5 * sample[..., None] * (nodes + 1.0)
        mean_cosine = torch.special.i1e(concentration) / torch.special.i0e(concentration)
        integrand = (angle.cos() - mean_cosine[..., None]) * torch.exp(
            concentration[..., None] * (angle.cos() - sample.cos()[..., None])
        )
        derivative = -0.5 * sample * (weights * integrand).sum(-1)
        return None, (gradient.double() * derivative).to(gradient.dtype)


def sample_von_mises(location: Tensor, concentration: Tensor, count: int) -> Tensor:
    """``count`` angles per parameter, differentiable in both parameters.

    Args:
        location: [*], radian.
        concentration: [*], positive.
        count: number of samples.

    Returns:
        [count, *] angles, radian; NaN where training has driven a concentration out of bounds.
    """
    with torch.no_grad():
        kappa = concentration.detach().cpu()
        usable = (kappa > 0.0) & (kappa < _LARGEST_CONCENTRATION)
        base = torch.distributions.VonMises(
            torch.zeros_like(kappa), kappa.where(usable, 1.0), validate_args=False
        ).sample(torch.Size([count]))
        base = base.where(usable, torch.nan).to(location.device)
    sample: Tensor = _ImplicitVonMises.apply(base, concentration.expand_as(base))
    return location + sample


def euler_rotations(angles: Tensor) -> Tensor:
    """R = O₁(α) O₂(β) O₃(γ): rotations about z, y and x. angles [*, 3] → [*, 3, 3]."""
    cosine, sine = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(cosine[..., 0]), torch.ones_like(cosine[..., 0])

    def matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    (ca, cb, cc), (sa, sb, sc) = cosine.unbind(-1), sine.unbind(-1)
    first = matrix((ca, -sa, zero), (sa, ca, zero), (zero, zero, one))
    second = matrix((cb, zero, -sb), (zero, one, zero), (sb, zero, cb))
    third = matrix((one, zero, zero), (zero, cc, -sc), (zero, sc, cc))
    return first @ second @ third


def haar_rotations(count: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Uniformly distributed rotations [count, 3, 3], from normalized Gaussian quaternions."""
    quaternion = torch.randn(count, 4, dtype=dtype, device=device)
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    return torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        dim=-2,
    )


def octahedral_group() -> Tensor:
    """The 48 signed permutation matrices [48, 3, 3], float64: the full cubic point group."""
    identity = torch.eye(3, dtype=torch.float64)
    return torch.stack(
        [
            torch.tensor(signs, dtype=torch.float64)[:, None] * identity[list(permutation)]
            for permutation in itertools.permutations(range(3))
            for signs in itertools.product((1.0, -1.0), repeat=3)
        ]
    )


class Symmetrization(nn.Module):
    """The set of orthogonal transformations that a model averages over.

    In training every call draws a new set. In evaluation the set is a fixed function of the
    parameters (drawn from a seed of its own), so that a structure always gets the same barrier;
    this is the set which export freezes. All draws are made on the CPU in float64, so that a
    network has the same set on every device and in every dtype.

    Args:
        distribution: ``von_mises`` (learned), ``haar`` (uniform), ``octahedral`` (all 48 elements)
            or ``none`` (the identity alone).
        samples: K, the number of rotations and of non-rotations per call in training.
        evaluation_samples: K in evaluation.
    """

    evaluation_seed = 2401

    def __init__(
        self, distribution: Distribution, samples: int = 2, evaluation_samples: int = 2
    ) -> None:
        super().__init__()
        self.distribution = distribution
        self.samples = samples
        self.evaluation_samples = evaluation_samples
        if distribution == "von_mises":
            # Rows: rotations, non-rotations. Columns: α, β, γ.
            self.location = nn.Parameter(torch.randn(2, 3))
            self.log_concentration = nn.Parameter(torch.randn(2, 3))
        self.register_buffer("group", octahedral_group(), persistent=False)

    def forward(self) -> Tensor:
        """Orthogonal matrices [T, 3, 3], float64: T = 2K, 48 or 1."""
        if self.training:
            return self.draw(self.samples)
        with torch.random.fork_rng(devices=[]):
            # The CPU's generator alone: torch.manual_seed would reset the dropout of a GPU too.
            torch.default_generator.manual_seed(self.evaluation_seed)
            return self.draw(self.evaluation_samples)

    def draw(self, samples: int) -> Tensor:
        """A new set of K = ``samples`` rotations and as many non-rotations, [T, 3, 3]."""
        group = self.get_buffer("group").double()
        if self.distribution == "octahedral":
            return group
        if self.distribution == "none":
            return torch.eye(3, dtype=group.dtype, device=group.device)[None]
        if self.distribution == "haar":
            rotations = haar_rotations(2 * samples, dtype=group.dtype, device=_CPU)
            rotations = rotations.to(group.device).view(samples, 2, 3, 3)
        else:
            angles = sample_von_mises(
                self.location.double(), self.log_concentration.double().exp(), samples
            )
            rotations = euler_rotations(angles)
        return torch.cat([rotations[:, 0], -rotations[:, 1]])
