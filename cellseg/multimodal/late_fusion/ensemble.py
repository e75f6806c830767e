"""Several trained models as one: records in, the fused class out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellseg.errors import InputError
from cellseg.multimodal.data.record import Record
from cellseg.multimodal.late_fusion.combine import FusionWeights
from cellseg.multimodal.late_fusion.weights_file import load_fusion_weights

if TYPE_CHECKING:
    from cellseg.multimodal.predict import Predictor


def load_late_ensemble(
    weights: str | Path,
    work_dirs: Mapping[str, str | Path],
    task: str = "classification",
    device: str | None = None,
    unsafe_load: bool = False,
) -> "LateEnsemble":
    """An ensemble from the file of its weights.

    Args:
        weights: written by tools/tune_late_fusion.py.
        work_dirs: of the models, by the names that they have in that file.
        task: that is answered.
        device, unsafe_load: see ``predict.load_trained``.

    Raises:
        InputError, MissingFileError: a file or folder that cannot be used, or models that the file does not know.
    """
    from cellseg.multimodal.predict import load_trained

    values, _ = load_fusion_weights(weights)
    if set(work_dirs) != set(values.models):
        raise InputError(f"{weights}: is for the models {', '.join(values.models)}, found {', '.join(work_dirs)}")
    models = {name: load_trained(work_dirs[name], None, device, unsafe_load) for name in values.models}
    return LateEnsemble(models, values, task)


class LateEnsemble:
    """Models whose class probabilities are combined.

    Args:
        models: predictors by name.
        weights: for these models.
        task: that is answered.

    Raises:
        InputError: other models than the weights are for, or a model without the task or with other classes.
    """

    def __init__(self, models: "Mapping[str, Predictor]", weights: FusionWeights, task: str = "classification"):
        if set(models) != set(weights.models):
            raise InputError(f"expected the models {', '.join(weights.models)}, found {', '.join(models)}")
        for name, model in models.items():
            if task not in model.model.heads:
                raise InputError(f"{name}: has no task {task!r}; it has {', '.join(model.model.heads)}")
            found = model.description.names_of(task)
            if sorted(found) != sorted(weights.class_names):
                raise InputError(f"{name}: has the classes {', '.join(found)}, not {', '.join(weights.class_names)}")
        self.models = {name: models[name] for name in weights.models}
        self.weights, self.task = weights, task

    def predict(self, records: Sequence[Record | Mapping[str, Any]], batch_size: int = 32) -> list[dict[str, Any]]:
        """Answer records; arguments and errors as ``Predictor.predict``.

        Each model is shown what it has a modality for. A record must have something for one of them; the others say
        what they say when they see nothing, as they did for such samples when the weights were tuned.

        Returns:
            By record ``id``, ``label``, and ``probabilities`` by class name.
        """
        if not records:
            return []
        read = {name for model in self.models.values() for name in model.model.modalities}
        for index, record in enumerate(records):
            inputs = record.inputs if isinstance(record, Record) else record
            if not any(inputs.get(name) is not None for name in read):
                where = (isinstance(record, Record) and record.where) or f"record {index + 1}"
                raise InputError(f"{where}: has no input; expected {' or '.join(sorted(read))}")
        rows, ids = [], []
        for model in self.models.values():
            shown = [_known(record, model.description.modalities) for record in records]
            answers = model.predict(shown, batch_size, allow_empty=True)
            ids = [answer["id"] for answer in answers]
            said = [answer[self.task]["probabilities"] for answer in answers]
            rows.append([[each[name] for name in self.weights.class_names] for each in said])
        mixed = self.weights.combine(np.array(rows, dtype=np.float64))
        return [
            {
                "id": identity,
                "label": self.weights.class_names[int(np.argmax(row))],
                "probabilities": dict(zip(self.weights.class_names, row.tolist(), strict=True)),
            }
            for identity, row in zip(ids, mixed, strict=True)
        ]


def _known(record: Record | Mapping[str, Any], modalities: Mapping[str, Any]) -> Record | dict[str, Any]:
    if isinstance(record, Record):
        shown = {name: value for name, value in record.inputs.items() if name in modalities}
        return Record(record.id, shown, where=record.where)
    return {name: value for name, value in record.items() if name == "id" or name in modalities}
