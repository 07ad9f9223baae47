"""From a checkpoint to a model file: TorchScript plus ``symgnn.json``.

``scripted`` holds the form that each architecture takes in a model file.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from torch import Tensor, nn

from symgnn.elements import check_elements
from symgnn.errors import ConfigError, ModelError, RoundingWarning
from symgnn.files import written_whole
from symgnn.graph import Graph, build_graph
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_OOD, ENERGY_BARRIER_STD, METADATA_FILE
from symgnn.models import (
    DensityRegression,
    DensityRegressionConfig,
    Formula,
    Mixture,
    NetworkConfig,
    SymGNN,
    SymGNNConfig,
    settle_normalization,
)
from symgnn.models.formula import formula_text
from symgnn.models.symmetrization import haar_rotations
from symgnn.samples import sample_glass
from symgnn.scripted.density_regression import ExportedDensityRegression
from symgnn.scripted.mixture import ExportedMixture
from symgnn.scripted.symgnn import ExportedSymGNN
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import TrainingConfig, parse_config, preset

FORMAT = 1
DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Largest |exported − eager| in eV that is still rounding.
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
_INVARIANCE_TRANSFORMATIONS = 4
_SMALLEST_VARIANCE = 1e-1
_RESTLESS = 5e-4
"""eV, rms change under rotations from which on dragging is said to be restless; cuzr has 8e-5."""


@dataclass(frozen=True)
class Exported:
    """A finished export: where it lies and what its self-check measured."""

    path: Path
    largest_difference: float
    invariance_rms: float
    invariance_max: float


def export_checkpoint(checkpoint: Path, output: Path, *, dtype: str = "float32") -> Exported:
    """Export the validated network of a checkpoint.

    Raises:
        ModelError: no such checkpoint, or the exported network differs from the trained one.
        SymGNNError: the output cannot be written.
    """
    content = load_checkpoint(checkpoint)
    model = restore_model(content, str(checkpoint))
    config = parse_config(content["config"], str(checkpoint))
    training = {
        "data": content["checksums"],
        "epoch": content["epoch"],
        "validation": content["validation"],
        "config": config.model_dump(),
    }
    if isinstance(config, TrainingConfig):
        training["seed"] = config.seed
    if "held_out" in content:
        training["held_out"] = content["held_out"]
        training["held_out_structures"] = content["held_out_structures"]
    return export_model(
        model,
        content["elements"],
        output,
        dtype=dtype,
        training=training,
        example=_example_of(content),
    )


def _example_of(content: dict[str, Any]) -> Atoms | None:
    """A structure of training; checkpoints of older versions have none."""
    example = content.get("example")
    if example is None:
        return None
    return Atoms(**{name: tensor.numpy() for name, tensor in example.items()})


def export_random(
    preset_name: str,
    elements: Sequence[str],
    output: Path,
    *,
    dtype: str = "float32",
    seed: int = 0,
) -> Exported:
    """Export an untrained network of a preset, for benchmarks and tests.

    Its batch normalizations hold the statistics of a sample glass, so that its barriers vary from
    atom to atom as those of a trained network do.

    Raises:
        ConfigError: unknown preset, or an element named twice.
        StructureError: a name that is no chemical symbol.
        SymGNNError: the output cannot be written.
    """
    check_elements(elements)
    if len(set(elements)) < len(elements):
        raise ConfigError("an element is named twice: name each once")
    config = preset(preset_name).model
    if not isinstance(config, SymGNNConfig):
        raise ConfigError(
            f"preset {preset_name} is no network: there are no random weights to export; "
            "try --preset paper"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = random_model(config, elements)
    return export_model(model, elements, output, dtype=dtype, training={"seed": seed})


def random_model(config: SymGNNConfig, elements: Sequence[str]) -> SymGNN:
    """An untrained network with normalization statistics of a sample glass."""
    model = SymGNN(config, len(elements))
    settle_normalization(
        model, [_graph_of(sample_glass(elements), config, elements, torch.float32).inputs]
    )
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d) and part.running_var is not None:
            # Channels that hardly vary before training would otherwise amplify rounding.
            part.running_var.clamp_(min=_SMALLEST_VARIANCE)
    return model


def export_model(
    model: nn.Module,
    elements: Sequence[str],
    output: Path,
    *,
    dtype: str = "float32",
    training: dict[str, Any] | None = None,
    example: Atoms | None = None,
) -> Exported:
    """Fold, script, check against the eager network on a glass, and write.

    Args:
        model: trained.
        elements: chemical symbols in the order of species.
        output: the file to write.
        dtype: a key of ``DTYPES``.
        training: for the record.
        example: the glass, from training; by default the sample glass, which says little of other
            alloys.

    Warns:
        RoundingWarning: barriers of ``example`` change when it is turned.

    Raises:
        ModelError: an architecture without an exported form, or exported and eager network differ
            by more than rounding.
        SymGNNError: the output cannot be written.
    """
    if not isinstance(model, SymGNN | DensityRegression | Mixture | Formula):
        raise ModelError(
            f"{type(model).__name__} is a baseline and has no exported form: export a checkpoint "
            "of architecture symgnn, density_regression, mixture or formula"
        )
    config = model.config
    model = deepcopy(model).cpu().eval().to(DTYPES[dtype])
    glass = sample_glass(elements) if example is None else example
    graph = _graph_of(glass, config, elements, DTYPES[dtype])
    with warnings.catch_warnings():
        # TorchScript is the one format that torch, LAMMPS and C++ all read without Python.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        form = _exported_form(model)
        scripted = torch.jit.script(form.module.eval())
        inputs = graph.inputs
        with torch.inference_mode():
            eager = model(*inputs)
            reference = scripted(*inputs)
            difference = float((reference - eager).abs().max())
            if not difference <= TOLERANCE[dtype]:
                # A network may itself round worse than that; other orders of its sums do so too.
                rounding = _rounding_error(model, _graph_of(glass, config, elements, torch.float64))
                if not difference <= 10.0 * rounding:
                    raise ModelError(
                        f"the exported network differs from the trained one by {difference:.1e} eV "
                        f"(allowed: {TOLERANCE[dtype]:.0e}); export with --dtype float64"
                    )
            rms, largest = _invariance(scripted, graph, reference)
        if example is not None and isinstance(config, DensityRegressionConfig):
            _warn_of_rounding(config, rms)
        metadata = {
            "format": FORMAT,
            "elements": list(elements),
            "cutoff": config.cutoff,
            "layers": form.layers,
            "width": form.width,
            "dtype": dtype,
            "self_edges": config.self_edges,
            "outputs": form.outputs,
            "units": {"energy": "eV", "length": "angstrom"},
            "invariance": {"rms": rms, "max": largest},
            "training": training or {},
            "architecture": config.model_dump(),
            "exported": datetime.now(UTC).date().isoformat(),
            "symgnn_version": version("symgnn"),
            "torch_version": torch.__version__,
        }
        metadata |= form.further
        buffer = io.BytesIO()
        torch.jit.save(
            scripted, buffer, _extra_files={METADATA_FILE: json.dumps(metadata, indent=1)}
        )
    with written_whole(output) as unfinished:
        unfinished.write_bytes(_without_source_locations(buffer))
    return Exported(output, difference, rms, largest)


@dataclass(frozen=True)
class _Form:
    """The scripted module of a model, and what the metadata say of it."""

    module: nn.Module
    layers: int
    width: int
    outputs: list[str]
    further: dict[str, Any]
    """Metadata that only models of its kind have."""


def _exported_form(model: SymGNN | DensityRegression | Mixture | Formula) -> _Form:
    if isinstance(model, SymGNN):
        config, layers = model.config, len(model.config.heads)
        reach = [config.cutoff] * layers
        further = _edge_weights(reach, None) | {"reach": reach}
        return _Form(ExportedSymGNN(model), layers, config.width, [ENERGY_BARRIER], further)
    if isinstance(model, Formula):
        outputs = [ENERGY_BARRIER, ENERGY_BARRIER_STD, ENERGY_BARRIER_OOD]
        further = {"formula": formula_text(model), "reach": [model.cutoff] * model.layers}
        return _Form(model, model.layers, model.channels, outputs, further)
    module: ExportedMixture | ExportedDensityRegression
    if isinstance(model, Mixture):
        regression, module = model.regression, ExportedMixture(model)
        explained_reach = module.reach
    else:
        regression, module = model, ExportedDensityRegression(model)
        explained_reach = module.explained.reach
    # Neither energies of dragging an atom nor where atoms relax to depend on weights of edges, so
    # that these would explain nothing.
    explained = regression.local.drag is None and regression.relaxation is None
    std = [ENERGY_BARRIER_STD] if regression.members > 1 else []
    limits = regression.label_range.tolist() if regression.label_range.isfinite().all() else None
    further = _edge_weights(explained_reach, limits) if explained else {}
    if isinstance(module, ExportedDensityRegression):
        further |= {"reach": module.reach}
    return _Form(
        module,
        module.layers,
        module.channels,
        [ENERGY_BARRIER, *std, ENERGY_BARRIER_OOD],
        further,
    )


def _edge_weights(reach: list[float], limits: list[float] | None) -> dict[str, Any]:
    """Says that a model has barriers with weights on edges, for explanations.

    Args:
        reach: lengths (Å) of the longest edges that matter to centers 0, 1, … edges away.
        limits: eV; barriers end here, those with weights on edges do not.
    """
    return {"edge_weights": {"reach": reach, "limits": limits}}


def _without_source_locations(archive: io.BytesIO) -> bytes:
    """The same archive without the records that name folders of this computer, or this export."""
    result = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(result, "w") as target:
        for record in source.infolist():
            if not record.filename.endswith((".debug_pkl", "/.data/serialization_id")):
                target.writestr(zipfile.ZipInfo(record.filename), source.read(record))
    return result.getvalue()


def _rounding_error(model: nn.Module, graph: Graph) -> float:
    """Largest difference in eV between a network and itself in float64."""
    species, edge_index, edge_vector = graph.inputs
    dtype = next(tensor.dtype for tensor in model.buffers() if tensor.is_floating_point())
    rounded = model(species, edge_index, edge_vector.to(dtype))
    return float((deepcopy(model).double()(*graph.inputs) - rounded).abs().max())


def _invariance(scripted: nn.Module, graph: Graph, reference: Tensor) -> tuple[float, float]:
    """Root mean square and largest change of barriers, eV, under random elements of O(3)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rotations = haar_rotations(
            _INVARIANCE_TRANSFORMATIONS, dtype=torch.float64, device=reference.device
        )
    change = torch.stack(
        [
            scripted(
                graph.species,
                graph.edge_index,
                graph.edge_vector @ ((-1.0) ** number * rotation.T).to(graph.edge_vector.dtype),
            )
            - reference
            for number, rotation in enumerate(rotations)
        ]
    )
    barrier = change.view(*change.shape[:2], -1)[..., 0]
    return float(barrier.square().mean().sqrt()), float(barrier.abs().max())


def _warn_of_rounding(config: DensityRegressionConfig, rms: float) -> None:
    """Dragging turns and moves with a structure but for rounding, which long steps multiply."""
    if config.drag is not None and rms > _RESTLESS:
        warnings.warn(
            f"barriers change by {rms:.1e} eV (rms) when the glass is turned, since the steps of"
            " dragging are too long for this potential: train with shorter ones, such as"
            f" model.drag.rate={config.drag.rate / 2.0:g}, or export with --dtype float64",
            RoundingWarning,
            stacklevel=4,
        )


def _graph_of(
    atoms: Atoms, config: NetworkConfig, elements: Sequence[str], dtype: torch.dtype
) -> Graph:
    return build_graph(atoms, config.cutoff, elements, self_edges=config.self_edges, dtype=dtype)
