"""Why a model answers as it does: attention over the picture, Grad-CAM, and what perturbed inputs cost."""

from cellseg.multimodal.explain.attention_maps import attention_between, draw_attention, maps_over_picture
from cellseg.multimodal.explain.grad_cam import grad_cam, layer_named, upsample_maps
from cellseg.multimodal.explain.perturbation import (
    Importance,
    feature_importance,
    modality_importance,
    region_importance,
    region_map,
)
from cellseg.multimodal.explain.pictures import draw_maps, draw_volume
from cellseg.multimodal.explain.record_attention import draw_record_attention

__all__ = [
    "Importance",
    "attention_between",
    "draw_attention",
    "draw_maps",
    "draw_record_attention",
    "draw_volume",
    "feature_importance",
    "grad_cam",
    "layer_named",
    "maps_over_picture",
    "modality_importance",
    "region_importance",
    "region_map",
    "upsample_maps",
]
