"""Pictures to look at: outlines over images, comparison with the truth, contact sheets, curves and scores."""

from cellseg.visualization.overlays import draw_comparison, draw_outlines, draw_sheet
from cellseg.visualization.plots import ScoreRow, plot_curves, plot_scores

__all__ = ["ScoreRow", "draw_comparison", "draw_outlines", "draw_sheet", "plot_curves", "plot_scores"]
