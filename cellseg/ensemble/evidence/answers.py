"""One member's answers about one image: asked once, checked, kept in the cache, the same whether fresh or cached."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.evidence.cache import EvidenceCache, hash_key, image_key
from cellseg.ensemble.feature_fusion.combiner import Combiner
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.members.pooling import FEATURE_GRID
from cellseg.structures import CropMasks

# Probabilities are rounded to whole multiples of 1 / 65535, and features to 16-bit floats, stored or not, so that
# cached answers and fresh ones are the same and take two bytes a number.
_STEPS = 65535.0
_LARGEST_HALF = 65504.0

# Interpolation and softmax may leave 0..1 by this much.
_ROUNDING = 1e-4

Arrays = dict[str, np.ndarray]


class Answers:
    """What one member says about one image; the network runs when something is asked that is not in the cache.

    What the cache holds is used only if it has the right arrays, shapes and types, without NaN; otherwise the member is
    asked again and the file written anew.

    Args:
        member: a member of the ensemble.
        image: uint8 ``[H, W, 3]``, RGB.
        cache: where answers are kept; None: nowhere.
    """

    def __init__(self, member: Member, image: np.ndarray, cache: EvidenceCache | None = None):
        self.member = member
        self._image = image
        self._cache = cache
        self._key = hash_key(member.identity(), image) if cache else ""
        self._state: Any = None

    def boxes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes float32 ``[N, 4]`` clipped to the image, scores float32 ``[N]``, labels int64 ``[N]``, on the CPU.

        Raises:
            InputError: the member returned something else, NaN among it; names the member.
        """

        def ask() -> Arrays:
            boxes, scores, labels = (part.detach().cpu() for part in self.member.boxes(self._encoded()))
            boxes, scores, labels = self._usable(boxes.float(), scores.float(), labels.long())
            return {"boxes": boxes.numpy(), "scores": scores.numpy(), "labels": labels.numpy()}

        stored = self._recall("boxes", [], self._are_boxes, ask)
        return self._usable(*(torch.from_numpy(stored[name]) for name in ("boxes", "scores", "labels")))

    def evidence(self, boxes: Tensor, labels: Tensor, windows: Tensor) -> tuple[CropMasks, Tensor]:
        """Probabilities in the windows and confidence float32 ``[N]``, on the CPU; see ``Member.evidence``.

        Raises:
            InputError: other windows, or values outside 0..1, NaN among them; names the member.
        """
        return self._evidence(
            boxes, labels, windows, lambda: self.member.evidence(self._encoded(), boxes, labels, windows)
        )

    def combined(
        self,
        boxes: Tensor,
        labels: Tensor,
        windows: Tensor,
        found: Mapping[str, tuple[CropMasks, Tensor]],
        others: Mapping[str, "Answers"],
    ) -> tuple[CropMasks, Tensor]:
        """What a combiner makes of its inputs' answers for the same boxes; result and errors as ``evidence``.

        Args:
            boxes, labels, windows: as they were asked.
            found: evidence and confidence of each input, by name.
            others: the inputs' answers, for their features.
        """
        combiner = self.member
        if not isinstance(combiner, Combiner):
            raise InputError(f"member {combiner.name}: is no combiner")

        def ask() -> tuple[CropMasks, Tensor]:
            read = combiner.inputs if combiner.uses_features else ()
            return combiner.combine(
                boxes,
                labels,
                windows,
                {name: found[name][0] for name in combiner.inputs},
                {name: found[name][1] for name in combiner.inputs},
                {name: others[name].features(windows) for name in read},
                self.image_key(),
            )

        return self._evidence(boxes, labels, windows, ask)

    def features(self, windows: Tensor) -> Tensor:
        """The member's features in windows int64 ``[N, 4]``: float32 ``[N, C, 7, 7]``, on the CPU.

        They are read in the windows, not in the boxes, so that they lie on the evidence. A member without features
        gives ``[N, 0, 7, 7]``.

        Raises:
            InputError: the member returned something else, NaN among it; names the member.
        """
        channels = self.member.feature_channels
        if not channels:
            return torch.zeros((len(windows), 0, FEATURE_GRID, FEATURE_GRID))
        shape = (len(windows), channels, FEATURE_GRID, FEATURE_GRID)

        def ask() -> Arrays:
            values = self.member.features(self._encoded(), windows.float()).detach().cpu().float()
            if values.shape != shape:
                raise InputError(
                    f"member {self.member.name}: expected features {list(shape)}, found {list(values.shape)}"
                )
            if not values.isfinite().all():
                raise InputError(f"member {self.member.name}: gave features that are not finite; check its checkpoint")
            return {"features": values.clamp(-_LARGEST_HALF, _LARGEST_HALF).half().numpy()}

        def fits(stored: Arrays) -> bool:
            return _has(stored, features=(np.float16, shape))

        stored = self._recall("features", [windows.numpy()], fits, ask)
        return torch.from_numpy(stored["features"]).float()

    def image_key(self) -> str:
        """Which image this is, by its content."""
        return image_key(self._image)

    def _evidence(
        self, boxes: Tensor, labels: Tensor, windows: Tensor, answer: Callable[[], tuple[CropMasks, Tensor]]
    ) -> tuple[CropMasks, Tensor]:
        def ask() -> Arrays:
            masks, confidence = answer()
            values, confidence = self._checked(masks.to("cpu"), confidence.detach().cpu().float(), windows)
            levels = (values * _STEPS).round_().int().numpy().astype(np.uint16)
            return {"levels": levels, "confidence": confidence.numpy()}

        sides = windows[:, 2:] - windows[:, :2]
        pixels = int(sides.prod(dim=1).sum())

        def fits(stored: Arrays) -> bool:
            kinds = dict(levels=(np.uint16, (pixels,)), confidence=(np.float32, (len(windows),)))
            return _has(stored, **kinds) and _in_range(stored["confidence"])

        stored = self._recall("evidence", [boxes.numpy(), labels.numpy(), windows.numpy()], fits, ask)
        values = torch.from_numpy(stored["levels"].astype(np.float32) / np.float32(_STEPS))
        return CropMasks(windows, values, self._image.shape[:2]), torch.from_numpy(stored["confidence"])

    def _recall(
        self, tier: str, question: list[np.ndarray], fits: Callable[[Arrays], bool], ask: Callable[[], Arrays]
    ) -> Arrays:
        """The stored answer to a question if there is one that fits, else a fresh one, which is then stored."""
        if self._cache is None:
            return ask()
        key = hash_key(self._key, *question) if question else self._key
        stored = self._cache.load(tier, key)
        if stored is None or not fits(stored):
            stored = ask()
            self._cache.store(tier, key, stored)
        return stored

    def _encoded(self) -> Any:
        if self._state is None:
            self._state = self.member.encode(self._image)
        return self._state

    def _are_boxes(self, stored: Arrays) -> bool:
        count = len(stored["scores"]) if np.ndim(stored.get("scores")) == 1 else -1
        kinds = dict(boxes=(np.float32, (count, 4)), scores=(np.float32, (count,)), labels=(np.int64, (count,)))
        if not _has(stored, **kinds) or not _in_range(stored["scores"]):
            return False
        return bool(((stored["labels"] >= 0) & (stored["labels"] < len(self.member.class_names))).all())

    def _usable(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        name, classes = self.member.name, len(self.member.class_names)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) == len(scores) == len(labels):
            shapes = [list(part.shape) for part in (boxes, scores, labels)]
            raise InputError(f"member {name}: expected boxes [N, 4], scores [N] and labels [N], found {shapes}")
        if not boxes.isfinite().all():
            raise InputError(f"member {name}: gave boxes that are not finite; check its checkpoint")
        scores = _clamped(scores, f"member {name}: scores")
        if ((labels < 0) | (labels >= classes)).any():
            raise InputError(f"member {name}: gave labels outside 0..{classes - 1}")
        height, width = self._image.shape[:2]
        boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height], dtype=torch.float32))
        there = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return boxes[there], scores[there], labels[there]

    def _checked(self, masks: CropMasks, confidence: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        name = f"member {self.member.name}"
        if masks.image_size != tuple(self._image.shape[:2]) or not torch.equal(masks.windows, windows):
            raise InputError(f"{name}: its evidence is not in the windows that were asked for")
        if confidence.shape != (len(windows),):
            raise InputError(
                f"{name}: expected a confidence for each of {len(windows)} boxes, found {list(confidence.shape)}"
            )
        return _clamped(masks.values.float(), f"{name}: evidence"), _clamped(confidence, f"{name}: confidence")


def _has(stored: Arrays, **kinds: tuple[type, tuple[int, ...]]) -> bool:
    """Whether exactly these arrays are stored, of these types and shapes, and finite."""
    return set(stored) == set(kinds) and all(
        stored[name].dtype == dtype and stored[name].shape == shape and np.isfinite(stored[name]).all()
        for name, (dtype, shape) in kinds.items()
    )


def _in_range(values: np.ndarray) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _clamped(values: Tensor, name: str) -> Tensor:
    """Values in 0..1 that rounding may have taken a little outside; anything else is refused, NaN too."""
    if len(values):
        low, high = (bound.item() for bound in values.aminmax())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise InputError(f"{name}: expected values in 0..1, found {low:g} to {high:g}; check its checkpoint")
    return values.clamp(0, 1)
