"""Pictures to look at: outlines over images, comparison with the truth, contact sheets, curves and scores."""

from cellseg.visualization.overlays import draw_comparison, draw_legend, draw_outlines, draw_sheet, pair_cells
from cellseg.visualization.plots import ScoreRow, plot_curves, plot_scores

__all__ = [
    "ScoreRow",
    "draw_comparison",
    "draw_legend",
    "draw_outlines",
    "draw_sheet",
    "pair_cells",
    "plot_curves",
    "plot_scores",
]
