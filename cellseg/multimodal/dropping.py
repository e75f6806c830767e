"""Samples that lose modalities: at random in training, or one of several on purpose."""

from collections.abc import Mapping

import torch
from torch import Tensor

from cellseg.errors import InputError


def dropout_rates(rate: float | Mapping[str, float], modalities: tuple[str, ...]) -> dict[str, float]:
    """A rate for each modality, from one number for all or numbers for some (0 for the others).

    Raises:
        InputError: an unknown modality, or no number from 0 to 1.
    """
    rates = dict(rate) if isinstance(rate, Mapping) else dict.fromkeys(modalities, rate)
    for name, value in rates.items():
        if name not in modalities:
            raise InputError(f"modality_dropout: {name!r} has no encoder; the model encodes {', '.join(modalities)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"modality_dropout: expected numbers from 0 to 1, found {value!r}")
    return {name: float(rates.get(name, 0.0)) for name in modalities}


def drop_modalities(present: Mapping[str, Tensor], rates: Mapping[str, float]) -> dict[str, Tensor]:
    """Take modalities from samples at random, leaving each sample at least one of those it has.

    Args:
        present: bool ``[B]`` of every modality.
        rates: chance of losing it, by modality, 0 to 1. Where all would be lost, one of them stays, each with the
            same chance.
    """
    if not any(rates.values()):
        return dict(present)
    stacked = torch.stack(list(present.values()))
    chances = torch.tensor([rates[name] for name in present], device=stacked.device)[:, None]
    kept = stacked & (torch.rand(stacked.shape, device=stacked.device) >= chances)
    lost = ~kept.any(dim=0) & stacked.any(dim=0)
    drawn = torch.rand(stacked.shape, device=stacked.device).masked_fill(~stacked, -1.0).argmax(dim=0)
    kept |= torch.zeros_like(stacked).scatter_(0, drawn[None], True) & lost
    return dict(zip(present, kept, strict=True))


def drop_one(present: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Take one modality, drawn at random, from each sample that has several.

    Args:
        present: bool ``[B]`` of every modality.

    Returns:
        What is left, and the samples (bool ``[B]``) from which one was taken.
    """
    stacked = torch.stack(list(present.values()))
    rows = stacked.sum(dim=0) > 1
    # The largest of random numbers is any of those that are there with equal chance.
    drawn = torch.rand(stacked.shape, device=stacked.device).masked_fill(~stacked, -1.0).argmax(dim=0)
    taken = torch.zeros_like(stacked).scatter_(0, drawn[None], True) & rows
    return dict(zip(present, stacked & ~taken, strict=True)), rows
