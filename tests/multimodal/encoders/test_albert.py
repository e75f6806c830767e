"""ALBERT: its size, its three embeddings, weights from a folder, no download."""

import builtins
import os

import pytest
import torch

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.encoders import AlbertEncoder

SMALL = dict(
    vocab_size=30,
    embedding_size=6,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
)
WORDS = torch.tensor([[2, 7, 8, 3, 9, 3]])


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(4)
    AlbertEncoder(**SMALL).albert.save_pretrained(tmp_path / "albert")
    return str(tmp_path / "albert")


def test_the_default_is_albert_base():
    with torch.device("meta"):
        encoder = AlbertEncoder()
    config = encoder.albert.config
    assert encoder.channels == config.hidden_size == 768
    assert (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) == (12, 12, 3072)
    # 11.7 million are known of it; its pooling layer, of 0.6, is not used here.
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 11_683_584 - 768 * 769


@torch.no_grad()
def test_tokens_are_the_librarys():
    torch.manual_seed(0)
    encoder = AlbertEncoder(separator=3, **SMALL).eval()
    mask = torch.tensor([[True] * 5 + [False]])
    expected = encoder.albert(input_ids=WORDS[:, :5], token_type_ids=torch.tensor([[0, 0, 0, 0, 1]])).last_hidden_state
    tokens = encoder(WORDS, mask)
    torch.testing.assert_close(tokens.values[:, :5], expected, atol=1e-5, rtol=0)


def test_the_second_segment_begins_after_the_first_separator():
    assert AlbertEncoder(separator=3, **SMALL).segments(WORDS).tolist() == [[0, 0, 0, 0, 1, 1]]
    assert AlbertEncoder(**SMALL).segments(WORDS).tolist() == [[0] * 6]


@torch.no_grad()
@pytest.mark.parametrize("embedding", ["word_embeddings", "position_embeddings", "token_type_embeddings"])
def test_all_three_embeddings_matter(embedding):
    torch.manual_seed(0)
    encoder = AlbertEncoder(separator=3, **SMALL).eval()
    before = encoder(WORDS).pooled
    weight = getattr(encoder.albert.embeddings, embedding).weight
    weight.copy_(torch.randn_like(weight))
    assert (encoder(WORDS).pooled - before).abs().max() > 1e-3


@torch.no_grad()
def test_weights_come_from_the_folder(folder):
    torch.manual_seed(4)
    expected = AlbertEncoder(**SMALL).eval()(WORDS).pooled
    torch.manual_seed(5)
    torch.testing.assert_close(AlbertEncoder(pretrained=folder, **SMALL).eval()(WORDS).pooled, expected)
    assert (AlbertEncoder(**SMALL).eval()(WORDS).pooled - expected).abs().max() > 1e-3


def test_half_precision_in_the_folder_becomes_single(tmp_path):
    AlbertEncoder(**SMALL).albert.half().save_pretrained(tmp_path)
    encoder = AlbertEncoder(pretrained=str(tmp_path), **SMALL)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["nothing", "albert-base-v2"])
def test_a_name_is_no_folder(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError) as caught:
        AlbertEncoder(pretrained=name)
    assert str(caught.value) == (
        f"{name}: no folder with an ALBERT model (config.json and weights); save one with save_pretrained, or download "
        "one beforehand"
    )


def test_options_that_do_not_fit_the_folder_are_refused(folder):
    with pytest.raises(InputError, match="albert: its weights do not fit the options of AlbertEncoder, or are damaged"):
        AlbertEncoder(pretrained=folder, **{**SMALL, "vocab_size": 31})


def test_damaged_and_foreign_weights_are_refused(folder):
    from safetensors.torch import load_file, save_file

    path = os.path.join(folder, "model.safetensors")
    weights = load_file(path)
    save_file({name: value for name, value in weights.items() if "query" not in name}, path, {"format": "pt"})
    with pytest.raises(InputError, match="not the weights of an ALBERT model, encoder.*query.bias is missing in them"):
        AlbertEncoder(pretrained=folder, **SMALL)
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(InputError, match="or are damaged"):
        AlbertEncoder(pretrained=folder, **SMALL)
    os.remove(path)
    with pytest.raises(InputError, match="or are damaged"):
        AlbertEncoder(pretrained=folder, **SMALL)


def test_nothing_is_downloaded():
    AlbertEncoder(**SMALL)
    from huggingface_hub import constants

    assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
    assert constants.is_offline_mode()


def test_without_the_package_it_says_what_to_install(monkeypatch):
    plain = builtins.__import__

    def without(name, *arguments, **options):
        if name == "transformers":
            raise ModuleNotFoundError("No module named 'transformers'", name="transformers")
        return plain(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError) as caught:
        AlbertEncoder(**SMALL)
    assert str(caught.value) == (
        "AlbertEncoder: the package transformers is not installed; run: pip install transformers"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            dict(width=8),
            "AlbertEncoder: unknown option width; expected are those of transformers.AlbertConfig",
        ),
        (
            dict(hidden_size=10, num_attention_heads=4),
            "AlbertEncoder: width 10 cannot be split among 4 heads; choose a multiple",
        ),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InputError) as caught:
        AlbertEncoder(**options)
    assert str(caught.value) == text


def test_a_long_text_is_refused():
    with pytest.raises(InputError) as caught:
        AlbertEncoder(**SMALL)(torch.zeros(1, 17, dtype=torch.long))
    assert str(caught.value) == (
        "AlbertEncoder: a text of 17 tokens, but max_position_embeddings is 16; cut the text or raise it"
    )
