"""Mixtures small enough for tests, with random numbers where training would put them."""

from __future__ import annotations

from typing import Any

import torch

from symgnn.export import random_model
from symgnn.models import Mixture, MixtureConfig
from tiny_regression import ELEMENTS, TINY, random_regression


def tiny_mixture_config(heads: list[int], **network: Any) -> MixtureConfig:
    values = {"width": 6, "heads": heads, "cutoff": 4.5, "dropout": 0.1, **network}
    return MixtureConfig.model_validate({"densities": TINY, "network": values, "share": 0.4})


def random_mixture(config: MixtureConfig, members: int = 4) -> Mixture:
    """Random where training would put numbers, of such sizes that every output varies."""
    torch.manual_seed(3)
    model = Mixture(config, len(ELEMENTS), members).double().eval()
    regression = random_regression(config.densities, members=members)
    model.regression.load_state_dict(regression.state_dict())
    network = random_model(config.network, ELEMENTS)
    network.label_std.fill_(3.0)
    model.network.load_state_dict(network.state_dict())
    return model
