"""The page of a report: from facts and pictures to one self-contained HTML text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from cellseg.multimodal.derive.charts import even_edges, histogram, log_edges
from cellseg.multimodal.derive.facts import ImageFacts
from cellseg.multimodal.derive.page_template import TEMPLATE
from cellseg.multimodal.derive.pictures import PicturePair, type_colors
from cellseg.multimodal.derive.sentences import percent, plural, total_types


@dataclass(frozen=True)
class PageImage:
    """An image on the page.

    Attributes:
        facts: of the image.
        sentences: about it.
        areas: of its cells, in pixels.
        scores: of its cells, 0 to 1; None where they are not known.
        pictures: None for an image that stands in the tables only.
    """

    facts: ImageFacts
    sentences: tuple[str, ...]
    areas: Sequence[int]
    scores: Sequence[float] | None
    pictures: PicturePair | None


@dataclass(frozen=True)
class Page:
    """What the page is about.

    Attributes:
        title: above it.
        sentences: about all images.
        images: at least one, in the order of the page.
        types: known cell types.
        skipped: id and reason of images that are not in it.
        provenance: JSON-able; printed at the end.
    """

    title: str
    sentences: tuple[str, ...]
    images: tuple[PageImage, ...]
    types: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    provenance: Mapping[str, Any]


def render_page(page: Page) -> str:
    """HTML without references to other files; the same for the same page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: "" if value is None else percent(value)
    facts = [image.facts for image in page.images]
    areas = [area for image in page.images for area in image.areas]
    edges = log_edges(areas) if areas else None
    shown = [(place, image) for place, image in enumerate(page.images, 1) if image.pictures is not None]
    # One type in all images needs no colours, and neighbours can have different ones.
    colors = {name: "#{:02x}{:02x}{:02x}".format(*color) for name, color in type_colors(page.types).items()}
    return environment.from_string(TEMPLATE).render(
        page=page,
        tiles=_tiles(facts, page),
        charts=_charts(facts, areas, edges),
        colors=colors if len(page.types) > 1 else {},
        totals=total_types(facts),
        rows=[_row(image, facts, place) for place, image in enumerate(page.images, 1)],
        shown=[
            {
                "image": image,
                "place": place,
                "chart": histogram(image.areas, edges, "px", log=True, height=80) if image.areas else "",
            }
            for place, image in shown
        ],
        scored=any(image.scores is not None for image in page.images),
        provenance=json.dumps(page.provenance, indent=2, sort_keys=True),
        plural=plural,
    )


def _tiles(facts: Sequence[ImageFacts], page: Page) -> list[tuple[str, str]]:
    """Large numbers at the top and what they are."""
    counts = [one.count for one in facts]
    tiles = [
        (f"{len(facts):,}", "image" if len(facts) == 1 else "images"),
        (f"{sum(counts):,}", "cell" if sum(counts) == 1 else "cells"),
        (f"{float(np.median(counts)):,g}", "cells an image, median"),
        (percent(float(np.median([one.confluence for one in facts]))), "confluence, median"),
    ]
    areas = [area for image in page.images for area in image.areas]
    if areas:
        tiles.append((f"{float(np.median(areas)):,.0f} px", "area of a cell, median"))
    if page.skipped:
        tiles.append((f"{len(page.skipped):,}", "skipped"))
    return tiles


def _charts(facts: Sequence[ImageFacts], areas: Sequence[int], edges: np.ndarray | None) -> list[tuple[str, Any]]:
    """Charts about all images and what they show."""
    charts = []
    if edges is not None:
        charts.append(("Area of the cells, px (logarithmic scale)", histogram(areas, edges, "px", log=True)))
    if len(facts) > 1:
        counts = [one.count for one in facts]
        charts.append(("Cells in an image", histogram(counts, even_edges(counts), "cells")))
        shares = [min(100 * one.confluence, 99.99) for one in facts]
        charts.append(("Confluence of the images, %", histogram(shares, np.arange(0, 101, 5.0), "%")))
    return charts


def _row(image: PageImage, facts: Sequence[ImageFacts], place: int) -> dict[str, Any]:
    """A row of the table over all images."""
    own = image.facts
    most = max((one.count for one in facts), default=0)
    return {
        "place": place,
        "facts": own,
        "shown": image.pictures is not None,
        "count_bar": f"{100 * own.count / most:.1f}" if most else "0",
        "cover_bar": f"{100 * own.confluence:.1f}",
        "types": [
            (name, number, f"{100 * number / own.count:.2f}") for name, number in own.type_counts.items() if number
        ],
        "area": f"{own.areas['p50']:,.0f}" if own.count else "",
        "spread": f"{own.areas['p25']:,.0f} to {own.areas['p75']:,.0f}" if own.count else "",
        "roundness": "" if own.roundness is None else f"{own.roundness:.2f}",
        "score": f"{float(np.median(image.scores)):.2f}" if image.scores else "",
    }
