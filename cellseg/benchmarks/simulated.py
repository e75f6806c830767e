"""Evidence of members that nobody trained, for cells that are known: what the ensemble's benchmarks work on."""

import numpy as np
import torch

from cellseg.benchmarks.cells import random_evidence, random_windows
from cellseg.benchmarks.subjects import Scale
from cellseg.ensemble import FusionOptions, ImageEvidence, claim_pixels, enlarge_boxes
from cellseg.structures import CropMasks

CLASS_NAMES = ("astro", "cort", "shsy5y")
MEMBERS = ("yolox", "mask_rcnn", "upernet", "upernet_b")


def simulate_evidence(seed: int, scale: Scale, members: int = 3) -> ImageEvidence:
    """What some members say about an image: boxes anywhere, ellipses with soft edges in them, no two members alike.

    Args:
        seed: of the image; the same seed gives the same evidence.
        scale: cells and size of the image.
        members: how many, up to four.
    """
    rng = np.random.default_rng(seed)
    boxes = torch.from_numpy(random_windows(rng, scale)).float()
    windows = enlarge_boxes(boxes, FusionOptions().margin, (scale.height, scale.width)).numpy()
    scores = torch.from_numpy(rng.uniform(0.3, 1.0, scale.instances)).float().sort(descending=True).values
    return ImageEvidence(
        image_size=(scale.height, scale.width),
        class_names=CLASS_NAMES,
        members=MEMBERS[:members],
        boxes=boxes,
        scores=scores,
        labels=torch.from_numpy(rng.integers(0, len(CLASS_NAMES), scale.instances)),
        evidence=tuple(random_evidence(rng, windows, scale) for _ in range(members)),
        confidence=torch.from_numpy(rng.uniform(0.2, 1.0, (members, scale.instances))).float(),
    )


def simulate_truth(seed: int, evidence: ImageEvidence) -> CropMasks:
    """True cells of simulated evidence: as one more observer would outline most of them, without overlaps.

    Args:
        seed: of the observer.
        evidence: of the image.
    """
    rng = np.random.default_rng(seed)
    windows = evidence.evidence[0].windows
    scale = Scale(len(evidence), *evidence.image_size)
    seen = random_evidence(rng, windows.numpy(), scale)
    kept = torch.from_numpy(rng.random(len(evidence)) < 0.9).nonzero()[:, 0]
    masks = claim_pixels(seen[kept], evidence.scores[kept], 0.5).tight()
    return masks[(masks.areas() > 0).nonzero()[:, 0]]


def draw_image(evidence: ImageEvidence) -> np.ndarray:
    """A grey noisy image in which the cells of the first member are bright, uint8 [H, W, 3]."""
    masks = evidence.evidence[0]
    height, width = evidence.image_size
    brightness = torch.zeros(height * width)
    brightness.scatter_reduce_(0, masks.pixel_index()[1], masks.values, "amax")
    noise = np.random.default_rng(0).normal(0.0, 6.0, (height, width))
    grey = 80.0 + 90.0 * brightness.view(height, width).numpy() + noise
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
