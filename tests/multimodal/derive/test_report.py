"""Reports: three files that agree with each other, self-contained, the same every time."""

import base64
import csv
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError, MissingFileError
from cellseg.io.results import CELL_COLUMNS, measure_cells
from cellseg.multimodal.derive.charts import even_edges, histogram, log_edges
from cellseg.multimodal.derive.facts import ImageFacts
from cellseg.multimodal.derive.phrases import parse_caption, slots_of
from cellseg.multimodal.derive.pictures import draw_pair
from cellseg.multimodal.derive.report import ReportOptions, write_report

TYPES = ("Big_one", "dot", "thin")
FILES = ["cells.csv", "report.html", "report.json"]


class Elements(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    void = {"meta", "img", "br"}

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(page)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def images(tmp_path):
    """Three images of the size that ``some_instances`` has."""
    (tmp_path / "images").mkdir()
    for number in range(3):
        image = np.random.default_rng(number).integers(30, 120, (48, 64), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "images" / f"i{number}.png")
    return tmp_path / "images"


@pytest.fixture
def results(write_results, some_instances):
    """A results folder of three images, the last without cells."""
    return write_results(
        {
            "i0": some_instances(["Big_one", "dot", "thin", "thin"]),
            "i1": some_instances(["dot"], seed=7),
            "i2": some_instances([]),
        }
    )


def load(out):
    values = json.loads((out / "report.json").read_text())
    return Elements((out / "report.html").read_text()), values, list(csv.DictReader((out / "cells.csv").open()))


def test_page_values_and_table_agree(images, results, some_instances, tmp_path):
    result = write_report(str(images), results, tmp_path / "out")
    assert (result.images, result.cells, result.skipped, result.passed_over) == (3, 5, (), 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    page, values, rows = load(tmp_path / "out")
    text = " ".join(" ".join(page.text).split())
    for sentence in values["overall"]["sentences"] + [s for image in values["images"] for s in image["sentences"]]:
        assert sentence in text
    assert values["overall"]["types"] == {"Big_one": 1, "dot": 2, "thin": 2}
    assert list(rows[0]) == list(CELL_COLUMNS) and [row["id"] for row in rows] == ["i0"] * 4 + ["i1"]
    image = np.asarray(Image.open(images / "i0.png"))
    measured = measure_cells("i0", some_instances(["Big_one", "dot", "thin", "thin"]), image)
    for row, expected in zip(rows, measured, strict=False):
        assert row["type"] == expected["type"] and float(row["area_px"]) == expected["area_px"]
        assert float(row["score"]) == pytest.approx(expected["score"], abs=1e-4)
    for entry in values["images"]:
        facts = ImageFacts.from_dict(entry, "x")
        mine = [float(row["area_px"]) for row in rows if row["id"] == entry["key"]]
        assert facts.count == len(mine) and (not mine or facts.areas["p50"] == np.median(mine))
        assert parse_caption(entry["caption"], TYPES) == slots_of(facts)
        assert len(entry["image_sha256"]) == 64
    assert values["provenance"]["ensemble"]["members"] == {"one": "abc"} and values["provenance"]["versions"]["torch"]


def test_the_page_needs_no_other_file(images, results, tmp_path):
    write_report(str(images), results, tmp_path / "out")
    page, _, _ = load(tmp_path / "out")
    sources = [image["src"] for image in page.all("img")]
    assert len(sources) == 6 and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    for attributes in page.all("img"):
        picture = Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2])))
        assert picture.size == (int(attributes["width"]), int(attributes["height"])) == (640, 480)
    assert not page.all("script") and not page.all("link")
    targets = [anchor["href"] for anchor in page.all("a")]
    assert targets and {target.removeprefix("#") for target in targets} <= {item["id"] for item in page.all("article")}
    assert "http" not in (tmp_path / "out" / "report.html").read_text()


def test_the_same_bytes_every_time(images, results, tmp_path):
    for name in ("one", "two"):
        write_report(str(images), results, tmp_path / name)
    for name in FILES:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_a_submission_knows_neither_types_nor_scores(images, some_instances, tmp_path):
    cells = some_instances(["Big_one", "thin"])
    lines = [f"i0,{text}" for text in cells.masks.to_rle()] + ["i1,", "i2,", "other,1 5"]
    (tmp_path / "sub.csv").write_text("\n".join(["id,predicted", *lines]) + "\n")
    result = write_report(str(images), tmp_path / "sub.csv", tmp_path / "out")
    assert result.passed_over == 1 and result.cells == 2
    page, values, rows = load(tmp_path / "out")
    assert all(row["type"] == row["score"] == row["uncertainty"] == "" for row in rows)
    assert values["overall"]["types"] == {} and values["images"][0]["score_median"] is None
    text = " ".join(page.text)
    assert "Confidence" not in text and "Types" not in text and "of type" not in text
    assert list(values["provenance"]) == ["submission_sha256", "versions"]


def test_a_split_of_a_data_folder(data_folder, tmp_path):
    from cellseg.io.submission import write_predictions

    records = DataFolder(data_folder).load_split(1, "test")
    write_predictions(tmp_path / "sub.csv", {record.key: record.masks[:1] for record in records})
    write_report(f"{data_folder}:test", tmp_path / "sub.csv", tmp_path / "out", fold=1)
    _, values, _ = load(tmp_path / "out")
    assert [entry["key"] for entry in values["images"]] == sorted(record.key for record in records)


def test_images_without_any_cell(images, write_results, some_instances, tmp_path):
    results = write_results({f"i{n}": some_instances([]) for n in range(3)})
    assert write_report(str(images), results, tmp_path / "out").cells == 0
    page, values, rows = load(tmp_path / "out")
    assert rows == [] and "No cells were found." in " ".join(page.text)
    assert values["overall"]["sentences"][0] == "3 images with 0 cells in total."


def test_a_mask_without_pixels_is_no_cell(images, write_results, some_instances, tmp_path):
    cells = some_instances(["dot", "thin"])
    begin = int(cells.masks.offsets[1])
    cells.masks.values[:begin] = False
    results = write_results({"i0": cells, "i1": some_instances([]), "i2": some_instances([])})
    assert write_report(str(images), results, tmp_path / "out").cells == 1
    _, values, rows = load(tmp_path / "out")
    assert [row["type"] for row in rows] == ["thin"] and values["images"][0]["score_median"] == pytest.approx(0.9)


def test_bad_images_are_skipped_and_listed(images, results, tmp_path):
    (images / "i1.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(images / "more.png")
    result = write_report(str(images), results, tmp_path / "out", skipped={"i2": "the <network> refused it"})
    assert [key for key, _ in result.skipped] == ["i1", "i2", "more"] and result.images == 1
    page, values, _ = load(tmp_path / "out")
    assert "cannot be read as an image" in values["skipped"][0]["reason"]
    assert values["skipped"][1:] == [
        {"id": "i2", "reason": "the <network> refused it"},
        {"id": "more", "reason": "the results folder has nothing about it"},
    ]
    assert "the <network> refused it" in page.text


def test_names_are_no_markup(write_results, some_instances, tmp_path):
    (tmp_path / "images").mkdir()
    key = "a<b>&'\"c"
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "images" / f"{key}.png")
    names = ("<i>one", 'two"')
    results = write_results({key: some_instances(["dot"], ("dot", "thin"))})
    path = results / "instances" / f"{key}.json"
    path.write_text(path.read_text().replace('["dot", "thin"]', json.dumps(names)))
    write_report(str(tmp_path / "images"), results, tmp_path / "out", options=ReportOptions(title="R <& D"))
    page, _, _ = load(tmp_path / "out")
    assert page.text.count(key) == 2 and "R <& D" in page.text
    assert any("<i>one" in text for text in page.text)


def test_pictures_are_spread_over_the_images(images, results, tmp_path):
    write_report(str(images), results, tmp_path / "out", options=ReportOptions(pictures=2, side=64))
    page, values, _ = load(tmp_path / "out")
    assert [article["id"] for article in page.all("article")] == ["image-1", "image-2"]
    assert len(values["images"]) == 3 and page.all("img")[0]["width"] == "64"
    write_report(str(images), results, tmp_path / "out", options=ReportOptions(pictures=0))
    assert load(tmp_path / "out")[0].all("img") == []


@pytest.mark.parametrize(
    "options, message",
    [
        (ReportOptions(title=" "), "--title ' ': expected a line of text"),
        (ReportOptions(title="a\nb"), "--title"),
        (ReportOptions(pictures=-1), "--pictures -1: expected 0 or more"),
        (ReportOptions(side=10), "--side 10: expected 64 to 4096 pixels"),
    ],
)
def test_options_that_cannot_be_used(images, results, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        write_report(str(images), results, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_reported(images, results, tmp_path):
    with pytest.raises(MissingFileError, match="none.csv: no such file"):
        write_report(str(images), tmp_path / "none.csv", tmp_path / "out")
    (tmp_path / "sub.csv").write_text("id,predicted\ni0,\n")
    with pytest.raises(InputError, match="nothing about the image i1, i2; give the images that it was made for"):
        write_report(str(images), tmp_path / "sub.csv", tmp_path / "out")
    (tmp_path / "sub.csv").write_text("id,predicted\ni0,\ni1,3072 2\ni2,\n")
    with pytest.raises(InputError, match="sub.csv: row 3: id 'i1': RLE pair 1"):
        write_report(str(images), tmp_path / "sub.csv", tmp_path / "out")
    for path in images.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="nothing to report, 3 images were skipped; i0: .*cannot be read as an image"):
        write_report(str(images), results, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="out: is a file; give a folder"):
        write_report(str(images), results, tmp_path / "out")


def test_outlines_have_the_colour_of_the_type(some_instances):
    image = np.full((48, 64, 3), 90, np.uint8)
    image[0, 0], image[0, 1] = 0, 255
    cells = some_instances(["Big_one", "dot"], ("Big_one", "dot"))
    pair = draw_pair(image, cells, side=64, by_type=True)
    plain, drawn = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))).astype(int)
        for url in (pair.plain, pair.outlined)
    )
    outlined = np.abs(drawn - plain).max(axis=2) > 60
    dense = cells.masks.to_dense().numpy()
    assert outlined.any() and not (outlined & ~dense.any(axis=0)).sum() > 4  # JPEG blurs a little
    orange, blue = drawn[outlined & dense[0] & ~dense[1]].mean(0), drawn[outlined & dense[1] & ~dense[0]].mean(0)
    assert orange[0] > orange[2] + 60 and blue[2] > blue[0] + 60


@pytest.mark.parametrize("values", [[5], [5, 5, 5], [1, 10, 100_000], [30, 31]])
def test_every_area_lies_on_the_chart(values):
    edges = log_edges(values)
    assert (np.diff(edges) > 0).all() and edges[0] <= min(values) and max(values) <= edges[-1]
    chart = Elements(histogram(values, edges, "px", log=True))
    counts = [int(text.rsplit(": ", 1)[1]) for text in chart.text if ": " in text]
    assert sum(counts) == len(values) and len(chart.all("text")) >= 2


@pytest.mark.parametrize("values", [[0], [0, 0, 1], [3, 17, 400], list(range(19))])
def test_every_count_lies_on_the_chart(values):
    edges = even_edges(values)
    assert sum(np.histogram(values, edges)[0]) == len(values) and len(edges) <= 20
    heights = [float(bar["height"]) for bar in Elements(histogram(values, edges, "cells")).all("rect")]
    counts = [count for count in np.histogram(values, edges)[0] if count]
    assert [height / max(heights) for height in heights] == pytest.approx([c / max(counts) for c in counts], abs=0.01)


def test_an_empty_chart_has_only_its_scale():
    chart = Elements(histogram([], np.arange(0, 101, 5.0), "%"))
    assert chart.all("rect") == [] and "20" in chart.text
