"""Where the words of one record look in its picture, from a trained model and the record alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellseg.errors import InputError
from cellseg.io.images import read_image
from cellseg.multimodal.data import Record
from cellseg.multimodal.explain.attention_maps import attention_between, maps_over_picture
from cellseg.multimodal.explain.pictures import draw_maps
from cellseg.multimodal.predict import Predictor


def draw_record_attention(
    predictor: Predictor,
    record: Record | Mapping[str, Any],
    out: str | Path,
    text: str | None = None,
    image: str | None = None,
    layer: int = -1,
) -> dict[str, Any]:
    """Draw for each word of a record where in the picture it looked, and answer what the model is for.

    Args:
        predictor: of a model whose fusion attends.
        record: as ``Predictor.predict`` takes it; the picture is a file.
        out: PNG file to write.
        text: the modality of the words; None: the only one of the record.
        image: the modality of the picture; None: the only one of the record.
        layer: of the fusion, from 0 on, or from -1 backwards.

    Returns:
        What ``Predictor.predict`` answers.

    Raises:
        InputError, MissingFileError: a record that cannot be used or has no such modality, or a fusion that does not
            attend.
    """
    shown = predictor.read(record)
    text, image = (_choose(predictor, shown, kind, name) for kind, name in (("text", text), ("image", image)))
    about = predictor.description
    pieces = about.words().tokens(about.words().encode(shown.inputs[text], about.max_length))
    answer, fused = predictor.predict_fused([shown])
    weights = attention_between(fused.attention, text, image, layer)
    picture = read_image(shown.inputs[image])
    size = about.modalities[image].shape[1:]
    grid = predictor.model.encoders[image].grid(*size)
    maps = maps_over_picture(weights[:1, :, : len(pieces)], grid, picture.shape[:2])
    # The first and the last token are begin and end, and no words.
    draw_maps(picture, maps[0, 1:-1].cpu(), pieces[1:-1], out)
    return answer[0]


def _choose(predictor: Predictor, record: Record, kind: str, name: str | None) -> str:
    found = [one for one in record.inputs if predictor.description.modalities[one].kind == kind]
    if name is None and len(found) == 1:
        return found[0]
    if name not in found:
        wanted = f"no {kind} {name!r}" if name else f"{'several kinds of' if found else 'no'} {kind}"
        raise InputError(
            f"{record.where}: has {wanted} to draw attention of; it has {', '.join(record.inputs) or 'nothing'}"
        )
    return name
