"""Grad-CAM: which places of a picture or volume raise an answer.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based localization", section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cellseg.errors import InputError

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def grad_cam(score: Callable[[], Tensor], layer: nn.Module) -> Tensor:
    """Grad-CAM of a layer: ``relu(sum_k alpha_k A_k)``, ``alpha_k`` being the mean of ``d score / d A_k`` over places.

    ``A_k`` are the layer's channels. The mean is right where all places count the same for a channel, as before an
    average over places; where later layers normalise over places, a map also shows what merely shifts the statistics.
    Weights need no gradient, and none is left in them. The model should be in evaluation, or the samples of a batch
    touch each other's answer.

    Args:
        score: runs the model once and gives for each sample the number to explain, ``[B]``, such as the logit of a
            class: ``lambda: model(inputs)["classification"][:, 2]``.
        layer: gives ``[B, C, ...]`` with one to three dimensions of places, perhaps as the first of several outputs,
            and is called once in a run.

    Returns:
        Float ``[B, ...]``, at least 0, in the resolution of the layer; see ``upsample_maps``.

    Raises:
        InputError: the layer is not called exactly once, gives something else, or the score does not depend on it.
    """
    outputs: list[Any] = []

    def keep(module: nn.Module, arguments: Any, output: Any) -> Any:
        # Layers that know padding give a map and its mask.
        content, *rest = output if isinstance(output, tuple) and output else (output,)
        if not isinstance(content, Tensor):
            outputs.append(content)
            return None
        # A new leaf: gradients need not go further back. A copy goes on, which later layers may change in place.
        outputs.append(content.detach().requires_grad_())
        return (outputs[-1].clone(), *rest) if isinstance(output, tuple) else outputs[-1].clone()

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            values = score()
    finally:
        handle.remove()
    activation = _only(outputs, values)
    if not values.requires_grad:
        raise InputError("Grad-CAM: the score has no gradient; it must not be computed under torch.no_grad()")
    (gradient,) = torch.autograd.grad(values, activation, torch.ones_like(values), allow_unused=True)
    if gradient is None:
        raise InputError("Grad-CAM: the score does not depend on the layer; choose one of the encoder it comes from")
    places = tuple(range(2, activation.ndim))
    alpha = gradient.float().mean(dim=places, keepdim=True)
    return (alpha * activation.detach().float()).sum(dim=1).relu()


def layer_named(model: nn.Module, name: str) -> nn.Module:
    """A layer by its path, such as ``encoders.image.features``.

    Raises:
        InputError: there is none; names the parts where the path goes wrong.
    """
    layer = model
    for place, part in enumerate(name.split(".")):
        children = dict(layer.named_children())
        if part not in children:
            where = ".".join(name.split(".")[:place]) or "the model"
            raise InputError(f"layer {name!r}: {where} has no {part!r}, but {', '.join(children) or 'no parts'}")
        layer = children[part]
    return layer


def upsample_maps(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps in another resolution, interpolated between the centres of places.

    Args:
        maps: float ``[B, ...]`` with one to three dimensions of places.
        size: wanted length of each.
    """
    mode = _MODES[maps.ndim - 1]
    return interpolate(maps.unsqueeze(1).float(), size=tuple(size), mode=mode, align_corners=False).squeeze(1)


def _only(outputs: Sequence[Any], values: Tensor) -> Tensor:
    """The one output that fits the scores."""
    if len(outputs) != 1:
        raise InputError(f"Grad-CAM: the layer was called {len(outputs)} times; choose one that is called once")
    (output,) = outputs
    if not isinstance(output, Tensor) or not 3 <= output.ndim <= 5:
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f"Grad-CAM: the layer gives {found}; choose one that gives [B, C, places ...]")
    if values.shape != output.shape[:1]:
        raise InputError(
            f"Grad-CAM: the score is {list(values.shape)} and the layer saw {len(output)} samples; give one number a "
            "sample, and only samples that have the modality"
        )
    return output
