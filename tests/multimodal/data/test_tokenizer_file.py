"""A tokenizer that came with weights: the words and numbers of the library that wrote it."""

import json

import pytest
import torch

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.data import forget_multimodal_data, load_multimodal_data
from cellseg.multimodal.data.tokenizer import TEXTS_APART
from cellseg.multimodal.data.tokenizer_file import FileTokenizer, tokenizer_from_json

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

SPECIAL = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["How many red cells are there?", "the cells cover half of the picture", "many dots", "a picture of cells"] * 5


def train_unigram(special=SPECIAL):
    """A vocabulary of ALBERT's kind: sentence pieces, and the special tokens where ALBERT has them."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=70, special_tokens=special, unk_token=special[1], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    begin, end = special[2:4]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B:1 {end}:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (begin, end)],
    )
    return tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as one has it of a pretrained ALBERT, with weights and tokenizer."""
    root = tmp_path_factory.mktemp("albert")
    tokenizer = train_unigram()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(root / "tokenizer.json"))
    torch.manual_seed(0)
    config = transformers.AlbertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    transformers.AlbertModel(config).save_pretrained(root)
    return root


@pytest.fixture(scope="module")
def usual(folder):
    """The same in the library that ALBERT is used with."""
    names = dict(pad_token="<pad>", unk_token="<unk>", cls_token="[CLS]", sep_token="[SEP]")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@pytest.mark.parametrize("text", [*TEXTS[:4], "zebras?", "many, MANY cells", "cells " * 30])
def test_texts_have_the_numbers_that_the_weights_know(folder, usual, text):
    mine = FileTokenizer.read(folder)
    assert mine.encode(text) == usual(text)["input_ids"]
    assert (mine.size, mine.pad, mine.begin, mine.end, mine.separator) == (len(usual), 0, 2, 3, 3)
    assert mine.tokens(mine.encode(text)) == usual.convert_ids_to_tokens(usual(text)["input_ids"])
    assert mine.encode(text, 5) == [*mine.encode(text)[:4], 3][: len(mine.encode(text))]


def test_words_come_back_up_to_the_end(folder):
    mine = FileTokenizer.read(folder / "tokenizer.json")
    numbers = mine.encode("the cells cover half")
    assert mine.decode([0, *numbers, *mine.encode("dots")]) == "the cells cover half"


def test_pairs_have_the_form_of_the_weights(folder, usual):
    mine = FileTokenizer.read(folder)
    pair = usual("how many cells", "red dots")
    assert mine.encode(TEXTS_APART.join(["how many cells", "red dots"])) == pair["input_ids"]


@pytest.mark.parametrize("lower", [True, False])
def test_no_text_becomes_a_special_token(lower):
    tokenizer = train_unigram()
    if not lower:
        tokenizer.normalizer = tokenizers.normalizers.NFKC()
    mine = FileTokenizer(tokenizer.to_str())
    for name in SPECIAL:
        assert not {0, 2, 3, 4} & set(mine.encode(f"many {name} cells")[1:-1])
    assert 1 in mine.encode("many Z")


def test_letters_that_nothing_stands_for():
    model = tokenizers.models.Unigram([("<pad>", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("a", -1.0)])
    with pytest.raises(InputError, match="tokenizer: cannot read letters that it does not know"):
        FileTokenizer(tokenizers.Tokenizer(model).to_str())


def test_it_travels_as_text(folder):
    mine = FileTokenizer.read(folder)
    again = tokenizer_from_json(mine.to_json())
    assert again.encode(TEXTS[0]) == mine.encode(TEXTS[0]) and again.to_json() == mine.to_json()


def test_pretrained_words_meet_their_weights(folder, usual, tmp_path):
    """From a config's entries: the encoder of the built model answers as ALBERT does to its own tokenizer."""
    from cellseg.multimodal.training import multimodal_model_of

    rows = [{"question": text, "hint": "red dots", "label": str(index % 2)} for index, text in enumerate(TEXTS)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = dict(
        reader="table",
        data_root=str(tmp_path),
        options=dict(inputs=dict(text=dict(kind="text", column=["question", "hint"]))),
        tokenizer=str(folder),
    )
    sizes = json.loads((folder / "config.json").read_text())
    known = ("embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    text = dict(
        type="AlbertEncoder",
        pretrained=str(folder),
        vocab_size="{vocabulary_size}",
        pad_token_id="{pad}",
        bos_token_id="{begin}",
        eos_token_id="{end}",
        separator="{separator}",
        max_position_embeddings=64,
        **{name: sizes[name] for name in known},
    )
    head = dict(type="FusedClassifier", num_classes="{num_classes}")
    model = multimodal_model_of(source, encoders=dict(text=text), fusion=None, heads=dict(classification=head)).eval()
    data = load_multimodal_data(**source)
    record = data.records("train")[0]
    values = data.sample(record)["inputs"]["text"]["values"][None]
    pair = usual(*record.inputs["text"].split(TEXTS_APART), return_tensors="pt", return_token_type_ids=True)
    albert = transformers.AlbertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        found = model.encoders["text"](values).values
        expected = albert(input_ids=pair["input_ids"], token_type_ids=pair["token_type_ids"]).last_hidden_state
    torch.testing.assert_close(found, expected)
    forget_multimodal_data()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "source.tokenizer: {path}: no such file; give the tokenizer.json of your weights"),
        ("{", "{path}: no tokenizer of the library tokenizers ("),
        ("{}", "{path}: no tokenizer of the library tokenizers ("),
        (b"\xff\xfe", "{path}: no tokenizer of the library tokenizers (not a text in UTF-8)"),
        (
            train_unigram(["<s>", "<unk>", "<pad>", "</s>", "<m>"]).to_str(),
            "{path}: its padding has the number 2; only tokenizers that pad with 0 can be used",
        ),
        (
            train_unigram(["<none>", "<unk>", "[CLS]", "[SEP]", "<m>"]).to_str(),
            "{path}: has none of the special tokens <pad>, [PAD], which ALBERT and BERT have",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        FileTokenizer.read(tmp_path if content is not None else path)
    assert str(error.value).startswith(message.format(path=path))
    assert isinstance(error.value, MissingFileError) == (content is None)
