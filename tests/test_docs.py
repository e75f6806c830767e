"""The documents: links lead somewhere, commands are accepted by the tools they name, names and options are complete."""

import argparse
import ast
import dataclasses
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "THIRD_PARTY.md", "data/README.md", *(f"docs/{p.name}" for p in PROJECT.glob("docs/*.md")))
# These two run without the environment, on plain argparse; the others share cellseg.cli.
PLAIN_TOOLS = ("setup_env", "update_lock")
TOOLS = tuple(sorted(path.stem for path in PROJECT.glob("tools/*.py") if path.stem not in PLAIN_TOOLS))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:\S*python3?|torchrun)\s.*?tools/(?P<tool>\w+)\.py(?P<arguments>.*)")
# Signs of a synopsis, which shows the form of a command and is none.
SYNOPSIS = re.compile(r"\[--|\.\.\.|\bFORM\b|PREDICTIONS\.csv")


@cache
def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """What a link to a heading of the document may name, as GitHub derives it."""
    titles = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def find_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Tool and arguments of every command, in code blocks and in running text."""
    plain = text.replace("\\\n", " ")
    pieces = [line for block in code_blocks(plain, "") for line in block.splitlines()]
    pieces += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", without_code(plain))]
    for piece in pieces:
        match = COMMAND.match(piece.strip())
        if match and not SYNOPSIS.search(piece):
            # A vertical bar is written with a backslash in a table.
            yield match["tool"], shlex.split(match["arguments"].replace("\\|", "|"))


COMMANDS = [(name, tool, arguments) for name in DOCUMENTS for tool, arguments in find_commands(read(name))]


@cache
def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"documented_{name}", PROJECT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [*sys.path]):
        spec.loader.exec_module(module)
    return module


def parser_of(tool: str) -> argparse.ArgumentParser:
    """The parser that a tool hands to ``cellseg.cli.run_command``; nothing is run."""
    parsers = []

    def keep(parser: argparse.ArgumentParser, command: Callable, arguments: list[str] | None = None) -> int:
        parsers.append(parser)
        return 0

    with mock.patch.object(load_tool(tool), "run_command", keep):
        assert load_tool(tool).main([]) == 0
    return parsers[0]


def parse(tool: str, arguments: list[str]) -> argparse.Namespace:
    try:
        return parser_of(tool).parse_args(arguments)
    except SystemExit:
        pytest.fail(f"tools/{tool}.py does not take: {shlex.join(arguments)}")


def all_parsers(tool: str) -> list[argparse.ArgumentParser]:
    """The parser of a tool, and those of its subcommands."""
    parser = parser_of(tool)
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(inner for action in actions for inner in action.choices.values())]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings(name):
    broken = []
    for target in LINK.findall(without_code(read(name))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (PROJECT / name).parent / path if path else PROJECT / name
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert not broken


def test_readme_leads_to_every_document():
    linked = {target.partition("#")[0] for target in LINK.findall(read("README.md"))}
    assert {f"docs/{path.name}" for path in PROJECT.glob("docs/*.md")} <= linked


def test_commands_are_found():
    """The tests below would be content with an empty list."""
    assert len([tool for name, tool, _ in COMMANDS if name == "README.md"]) >= 14
    assert {tool for _, tool, _ in COMMANDS} >= {"prepare_data", "train", "tune_ensemble", "ensemble_infer", "evaluate"}
    assert list(find_commands("```\npython tools/a.py x \\\n  --y 'b c'\n```\nand `.venv/bin/python tools/d.py`")) == [
        ("a", ["x", "--y", "b c"]),
        ("d", []),
    ]


@pytest.mark.parametrize(
    ("name", "tool", "arguments"), COMMANDS, ids=[f"{name}-{tool}-{n}" for n, (name, tool, _) in enumerate(COMMANDS)]
)
def test_commands_are_accepted(name, tool, arguments):
    assert (PROJECT / "tools" / f"{tool}.py").is_file(), f"{name} names tools/{tool}.py"
    if tool in PLAIN_TOOLS or "--help" in arguments:
        return
    options = parse(tool, arguments)
    config = getattr(options, "config", None)
    if config and config.startswith("configs/") and "*" not in config:
        assert (PROJECT / config).is_file(), f"{name} names {config}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_configs_and_make_targets_exist(name):
    for path in re.findall(r"`(configs/[\w/*.]+\.py)`", read(name)):
        assert list(PROJECT.glob(path)), path
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", read(name))) <= targets


@pytest.mark.parametrize("tool", TOOLS)
def test_help_ends_with_an_example_that_works(tool):
    for parser in all_parsers(tool):
        assert parser.epilog and parser.epilog.startswith("example:\n")
        examples = [line.strip() for line in parser.epilog.splitlines()[1:] if line.strip()]
        assert examples
        for example in examples:
            match = COMMAND.fullmatch(example)
            assert match and match["tool"] == tool, example
            arguments = shlex.split(match["arguments"])
            if "--help" not in arguments:
                parse(tool, arguments)


@pytest.mark.parametrize("tool", PLAIN_TOOLS)
def test_help_of_the_installation_has_an_example(tool):
    done = subprocess.run(
        [sys.executable, str(PROJECT / "tools" / f"{tool}.py"), "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "example:" in done.stdout


def test_first_snippet_of_the_readme_runs(capsys):
    exec(compile(code_blocks(read("README.md"), "python")[0], "README.md", "exec"), {})
    *_, score, text, areas = capsys.readouterr().out.splitlines()
    assert 0 < float(score) < 1 and text == "3 2 98 4" and areas == "tensor([400, 200])"


def test_other_snippets_name_what_exists():
    snippets = code_blocks(read("README.md"), "python")[1:]
    assert snippets
    for snippet in snippets:
        tree = ast.parse(snippet)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert imports
        for node in imports:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


def missing(document: str, names: list[str]) -> list[str]:
    """Names that do not stand in the document as code."""
    words = set(re.findall(r"[\w.{}-]+", " ".join(re.findall(r"`([^`\n]+)`", read(document)))))
    return [name for name in names if name not in words]


def test_every_option_of_data_preparation_is_described():
    options = {
        option
        for parser in all_parsers("prepare_data")
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    assert len(options) > 15
    assert missing("docs/data.md", sorted(options)) == []


def test_every_setting_of_the_ensemble_is_described():
    from cellseg.ensemble import FusionOptions, Settings
    from cellseg.ensemble.boxes.checks import METHODS, RULES
    from cellseg.ensemble.folder_run import FORMATS, INSTANCE_COLUMNS
    from cellseg.ensemble.tuners import TUNERS
    from cellseg.ensemble.votes.claims import POLICIES
    from cellseg.io.results import CELL_COLUMNS

    names = [field.name for kind in (FusionOptions, Settings) for field in dataclasses.fields(kind)]
    names += [*POLICIES, *FORMATS, *INSTANCE_COLUMNS, *METHODS, *RULES, *TUNERS, *CELL_COLUMNS]
    assert missing("docs/ensemble.md", names) == []


@pytest.mark.parametrize("kind", ["yolox", "mask_rcnn", "upernet"])
def test_every_option_of_a_member_is_described(kind):
    # Read, not imported: the networks' packages take long to load.
    tree = ast.parse(read(f"cellseg/members/{kind}.py"))
    (init,) = [
        function
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Member")
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
    ]
    options = [argument.arg for argument in init.args.args if argument.arg != "self"]
    assert len(options) > 4
    assert missing("docs/ensemble.md", options) == []


def test_every_part_of_multimodal_models_is_described():
    from inspect import Parameter, signature

    from mmengine.registry import MODELS

    from cellseg.multimodal import auxiliary, baselines, encoders, fusion, heads
    from cellseg.multimodal.data.record import KINDS, TASKS
    from cellseg.multimodal.data.source import READERS

    packages = (auxiliary, baselines, encoders, fusion, heads)
    kinds = {name: getattr(package, name) for package in packages for name in package.__all__}
    parts = {name: kind for name, kind in kinds.items() if MODELS.get(name) is kind}
    assert len(parts) > 30
    given = {"channels", "token_channels", "encoded_channels"}
    options = {
        option.name
        for kind in parts.values()
        for option in signature(kind).parameters.values()
        if option.kind is not Parameter.VAR_KEYWORD and option.name not in given
    }
    assert missing("docs/multimodal.md", sorted({*parts, *options, *KINDS, *READERS})) == []
    assert all(task in read("docs/multimodal.md") for task in TASKS)


def test_sources_in_the_document_of_multimodal_models_are_read():
    from cellseg.multimodal.data.source import READERS, parse_source

    readers = set()
    for block in code_blocks(read("docs/multimodal.md"), "python"):
        if "reader" not in block:
            continue
        names: dict = {}
        exec(compile(block, "docs/multimodal.md", "exec"), names)
        entries = dict(reader=names["reader"], data_root=names.get("data_root"), **names["source"])
        readers.add(parse_source(entries).reader)
    assert readers == set(READERS)


def test_snippets_of_multimodal_models_name_what_exists():
    for block in code_blocks(read("docs/multimodal.md"), "python"):
        for node in (node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)):
            assert all(hasattr(importlib.import_module(node.module), alias.name) for alias in node.names)


def test_every_placeholder_is_described():
    from cellseg.training.config import bind_data

    placeholders = re.findall(r"``(\{\w+\})``", bind_data.__doc__)
    assert len(placeholders) > 8
    assert missing("docs/training.md", placeholders) == []


def test_every_kind_of_error_is_described():
    from cellseg.metrics.error_kinds import CELL_ERRORS, PREDICTION_ERRORS

    assert missing("docs/metric.md", [*CELL_ERRORS, *PREDICTION_ERRORS]) == []
