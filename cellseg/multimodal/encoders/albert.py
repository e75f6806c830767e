"""ALBERT (Lan et al. 2020): the text's side of the visual-language model."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.attention import check_heads, open_empty_rows
from cellseg.multimodal.encoders.pooling import masked_tokens
from cellseg.multimodal.encoders.text import check_length
from cellseg.multimodal.values import Tokens, full_mask

# The library's own defaults are those of the largest ALBERT, 4096 wide.
_BASE = dict(hidden_size=768, num_attention_heads=12, intermediate_size=3072)


@MODELS.register_module()
class AlbertEncoder(nn.Module):
    """ALBERT's tokens, from token, position and segment embeddings; nothing is ever downloaded.

    Args:
        pretrained: a folder that ``AlbertModel.save_pretrained`` wrote; None: random weights.
        separator: the token after whose first occurrence the second segment begins (pairs of texts, such as a question
            and its hint, see ``data.table.read_table``); None: every text is one segment.
        **config: of ``transformers.AlbertConfig``; the defaults are those of ALBERT base (12 layers of 768 channels,
            30,000 tokens). They describe the weights in ``pretrained`` too, so that a trained model needs no such
            folder again.

    Attributes:
        channels: ``hidden_size``.

    Raises:
        InputError: transformers is not installed, an unknown option, or weights of another form.
        MissingFileError: ``pretrained`` is no folder with weights.
    """

    def __init__(self, pretrained: str | None = None, separator: int | None = None, **config: Any):
        super().__init__()
        library = _import_offline()
        settings = _settings(library, config)
        self.separator = separator
        self.channels = settings.hidden_size
        self.max_length = settings.max_position_embeddings
        if pretrained is None:
            self.albert = library.AlbertModel(settings, add_pooling_layer=False)
        else:
            self.albert = _load(library, pretrained, settings)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of texts.

        Args:
            values: int64 ``[B, L]``.
            mask: bool ``[B, L]``, true where a token is real; None: everywhere.

        Raises:
            InputError: a text longer than ``max_position_embeddings``.
        """
        check_length("AlbertEncoder", values.shape[1], self.max_length, "max_position_embeddings")
        mask = full_mask(values) if mask is None else mask
        answer = self.albert(
            input_ids=values,
            attention_mask=open_empty_rows(mask).long(),
            token_type_ids=self.segments(values),
        )
        return masked_tokens(answer.last_hidden_state, mask)

    def segments(self, values: Tensor) -> Tensor:
        """Segment of every token, int64 ``[B, L]``: 0 up to and with the first separator, 1 after it."""
        if self.separator is None:
            return values.new_zeros(values.shape)
        found = (values == self.separator).long()
        return (found.cumsum(dim=1) - found > 0).long()


def _import_offline() -> ModuleType:
    # Read when the library is imported; the constant is for the case that somebody else did that before.
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    try:
        import transformers
        from huggingface_hub import constants
    except ModuleNotFoundError as error:
        raise InputError(
            f"AlbertEncoder: the package {error.name} is not installed; run: pip install transformers"
        ) from error
    constants.HF_HUB_OFFLINE = True
    return transformers


def _settings(library: ModuleType, config: dict[str, Any]) -> Any:
    known = library.AlbertConfig().to_dict().keys()
    if unknown := sorted(config.keys() - known):
        raise InputError(f"AlbertEncoder: unknown option {unknown[0]}; expected are those of transformers.AlbertConfig")
    settings = library.AlbertConfig(**{**_BASE, **config})
    check_heads("AlbertEncoder", settings.hidden_size, settings.num_attention_heads)
    return settings


def _load(library: ModuleType, folder: str, settings: Any) -> nn.Module:
    if not (Path(folder) / "config.json").is_file():
        raise MissingFileError(
            f"{folder}: no folder with an ALBERT model (config.json and weights); save one with save_pretrained, or "
            "download one beforehand"
        )
    try:
        model, report = library.AlbertModel.from_pretrained(
            folder, config=settings, add_pooling_layer=False, local_files_only=True, output_loading_info=True
        )
    # Files that are cut short or of other shapes make the library fail in many ways.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{folder}: its weights do not fit the options of AlbertEncoder, or are damaged ({reason}); give the "
            "options that stand in its config.json"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise InputError(f"{folder}: not the weights of an ALBERT model, {missing[0]} is missing in them")
    return model.float()  # a folder may hold half precision, which the rest of the network does not have
