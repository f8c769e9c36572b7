"""Docs under test: what a page says of the code is held against the code."""

import ast
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from heirloom.apps import mapping
from heirloom.apps.cli import app
from heirloom.core import event as events
from heirloom.core import listing
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.features import library
from heirloom.features.view import FeatureView

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
NOT_OURS = {"var", "dist", "data", "__pycache__"}
TEXT = {"", ".css", ".html", ".js", ".json", ".lock", ".md", ".py", ".toml", ".txt", ".yml"}
OTHERS_PLACES = (
    "/" + "work/",
    "/" + "opt/",
    "/" + "home/",
    "/" + "root/",
    "farm" + "-",
    "file:" + "//",
)
"""What only one machine has; written in parts, so that this file does not name them."""
SAGEMAKERS = "/" + "opt/ml"
"""What every container of SageMaker has."""


def text_files() -> list[Path]:
    """Every text file of the project; hidden folders but .ci and .github are tools' own."""
    tops = [
        top
        for top in sorted(ROOT.iterdir())
        if top.name not in NOT_OURS
        and (not top.name.startswith(".") or top.name in (".ci", ".github", ".gitignore"))
    ]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*"))]
    return [
        file
        for file in files
        if file.is_file()
        and file.suffix in TEXT
        and not NOT_OURS & set(file.relative_to(ROOT).parts[:-1])
    ]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


PAGES = [file for file in text_files() if file.suffix == ".md"]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"


def read(*pages: Path) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(line, text) of each fenced block of a language."""
    text = read(page)
    return [
        (text.count("\n", 0, found.start()) + 1, found[1])
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    lost = []
    for link in (markdown or html for markdown, html in links):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, heading = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (heading and heading not in headings(path)):
            lost.append(link)
    assert not lost


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", read(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_named_in_a_page_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:src|tests|docs|benchmarks|examples|systems|\.ci)/[\w./-]+)`", read(page)
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_linked_to_a_file_are_defined_in_it(page: Path) -> None:
    lost = []
    for name, target in re.findall(r"\[`([\w.]+)`\]\(([^)]+\.py)\)", read(page)):
        path = page.parent / target
        if path.exists() and name not in defined(path):
            lost.append(f"{name} in {target}")
    assert lost == []


def defined(file: Path) -> set[str]:
    """Functions and classes of a file, and methods as Class.method."""
    found: set[str] = set()
    for node in ast.parse(read(file)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            functions = ast.FunctionDef | ast.AsyncFunctionDef
            found |= {
                f"{node.name}.{part.name}" for part in node.body if isinstance(part, functions)
            }
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_in_a_page_is_python(page: Path) -> None:
    for line, code in blocks(page, "python"):
        ast.parse(code, filename=f"{page.name}:{line}")


ELSEWHERE = {"feast", "tritonclient.http"}
"""Programs that live in environments of their own."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_imports_in_a_page_work(page: Path) -> None:
    for _, code in blocks(page, "python"):
        imports = [
            node for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        imports = [node for node in imports if getattr(node, "module", "") not in ELSEWHERE]
        exec(compile(ast.Module(imports, []), page.name, "exec"), {})


def test_every_command_of_the_command_line_is_in_the_docs() -> None:
    text = read(README, *DOCS.glob("*.md"))
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert commands
    assert [name for name in commands if f"heirloom {name}" not in text] == []


def test_commands_in_the_docs_exist_with_their_options() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    wrong = []
    for page in PAGES:
        for _, script in [
            block for shell in ("sh", "bash", "console") for block in blocks(page, shell)
        ]:
            lines = script.replace("\\\n", " ").splitlines()
            for line in lines:
                found = re.search(r"(?:^|\s|/)heirloom (\w+)(.*)", line.partition("#")[0])
                if not found:
                    continue
                command, options = commands.get(found[1]), re.findall(r"(?<!\S)--[\w-]+", found[2])
                if command is None:
                    wrong.append(line)
                    continue
                inner = getattr(command, "commands", {})  # of a group, as in `features explain`
                command = inner.get((found[2].split() or [""])[0], command)
                known = {name for option in command.params for name in option.opts}
                wrong += [f"{line}: {option}" for option in options if option not in known]
    assert wrong == []


def test_make_targets_in_the_docs_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.M))
    code = [
        line for page in PAGES for _, script in blocks(page, "sh") for line in script.splitlines()
    ]
    for page in PAGES:
        code += re.findall(
            r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", read(page), flags=re.M | re.S)
        )
    named = {found[1] for line in code if (found := re.match(r"make ([a-z-]+[a-z])", line))}
    assert {"demo", "test"} <= named
    assert named - targets == set()


def test_every_event_kind_has_its_section() -> None:
    assert re.findall(r"^### (\w+)$", read(DOCS / "events.md"), re.M) == [
        kind.value for kind in Kind
    ]


def test_every_field_of_an_event_is_in_the_table() -> None:
    fields = re.findall(r"^\| `(\w+)` \|", read(DOCS / "events.md"), re.M)
    assert fields == list(Event.__struct_fields__)


def test_every_field_of_a_listing_is_named() -> None:
    text = read(DOCS / "events.md")
    assert [field for field in Listing.__struct_fields__ if f"`{field}`" not in text] == []


def test_limits_in_the_page_are_the_codes() -> None:
    text = read(DOCS / "events.md")
    for field, limit in (
        ("event_id", f"text, at most {events.MAX_ID:,} characters"),
        ("text", f"text, at most {events.MAX_TEXT:,} characters"),
        ("listings", f"list of text, at most {events.MAX_LISTINGS:,}"),
        ("positions", f"list of integers, 0 … {events.MAX_POSITION:,}"),
        ("position", f"integer, 0 … {events.MAX_POSITION:,}"),
        ("price_minor", f"integer, 0 … 10^{len(str(events.MAX_PRICE_MINOR)) - 1}"),
        ("attributes", f"object, at most {events.MAX_ATTRIBUTES} names"),
    ):
        assert f"| `{field}` | {limit} |" in text
    assert (
        f"A title has at most {listing.MAX_TITLE:,} characters, a description "
        f"{listing.MAX_DESCRIPTION:,}, any other text {listing.MAX_FIELD}" in " ".join(text.split())
    )


@pytest.mark.parametrize(
    "example", blocks(DOCS / "events.md", "json"), ids=lambda b: f"line {b[0]}"
)
def test_example_events_would_enter_the_log(example: tuple[int, str]) -> None:
    event = msgspec.json.decode(example[1], type=Event)
    fields = set(msgspec.json.decode(example[1]))
    assert events.problem(event, now_ms=event.t) is None
    assert fields <= set(Event.__struct_fields__)


def test_every_kind_has_an_example() -> None:
    kinds = {msgspec.json.decode(text)["kind"] for _, text in blocks(DOCS / "events.md", "json")}
    assert kinds == set(Kind)


def test_glossary_names_files_that_are_there() -> None:
    named = re.findall(r"`((?:[a-z]+/)+(?:[a-z_]+\.py)?)`", read(DOCS / "glossary.md"))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / "src/heirloom" / path).exists()] == []


SHAPE = re.compile(r"\[([a-z]+(?:, [a-z]+)*)\] (?:of|bool|u?int\d+|float\d+)\b")


def test_dimensions_in_docstrings_are_in_the_glossary() -> None:
    table = read(DOCS / "glossary.md").partition("## Dimensions")[2].partition("## Numbers")[0]
    known = set(re.findall(r"^\| `(\w+)` \|", table, re.M))
    strange: dict[str, set[str]] = {}
    for file in (ROOT / "src").rglob("*.py"):
        for arguments, docstring in docstrings(file):
            for shape in SHAPE.findall(docstring):
                if unknown := set(shape.split(", ")) - known - arguments:
                    strange.setdefault(name_of(file), set()).update(unknown)
    assert strange == {}


def docstrings(file: Path) -> list[tuple[set[str], str]]:
    """(names of the arguments, docstring) of all that has one; an argument may be a dimension."""
    found = []
    for node in ast.walk(ast.parse(read(file))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            signature = list(ast.walk(node.args)) if isinstance(node, ast.FunctionDef) else []
            arguments = {part.arg for part in signature if isinstance(part, ast.arg)}
            found.append((arguments, ast.get_docstring(node) or ""))
    return found


def test_decisions_are_listed() -> None:
    index = read(DOCS / "adr" / "README.md")
    decisions = [page.name for page in (DOCS / "adr").glob("0*.md")]
    assert decisions
    assert [name for name in decisions if f"({name})" not in index] == []


def test_no_file_names_a_place_of_one_machine() -> None:
    named = [
        f"{name_of(file)}: {place}"
        for file in text_files()
        for place in OTHERS_PLACES
        if place in file.read_text(encoding="utf-8", errors="replace").replace(SAGEMAKERS, "")
    ]
    assert named == []


def test_python_of_the_makefile_is_the_projects() -> None:
    # What `make setup` accepts is what pyproject.toml asks for.
    needed = re.search(r'requires-python = ">=(\d+)\.(\d+)"', read(ROOT / "pyproject.toml"))
    assert needed
    assert f"sys.version_info < ({needed[1]}, {needed[2]})" in read(ROOT / ".ci" / "venv")


def test_make_help_names_every_target() -> None:
    makefile = read(ROOT / "Makefile")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.M)
    assert phony
    help_text = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert set(re.findall(r"^  make (\S+)", help_text, re.M)) == set(phony[1].split())


def test_the_page_of_features_is_up_to_date() -> None:
    generator = runpy.run_path(str(DOCS / "features.py"))
    assert read(generator["PAGE"]) == generator["page"](), "run `make docs`"


def test_every_column_of_the_marketplace_says_what_it_is_for() -> None:
    table = read(DOCS / "features.md").partition("## marketplace")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", table, re.M)
    assert len(rows) > 20
    assert [column for column, about, unit, _ in rows if not (about and unit)] == []


def test_the_feature_of_twenty_minutes_can_be_added() -> None:
    (_, test), (_, definition) = blocks(CONTRIBUTING, "python")
    feature = eval(definition, vars(library))
    view = library.marketplace_view()
    assert feature.name not in "".join(view.columns), "it is in the library by now: write another"
    more = FeatureView(view.name, (*view.features, feature))
    page: dict[str, Any] = {}
    exec(test, page)
    tests = [function for name, function in page.items() if name.startswith("test_")]
    assert tests
    for function in tests:
        with pytest.raises(ValueError, match="not in tuple"):
            function()
    page["marketplace_view"] = lambda: more
    for function in tests:
        function()


def test_the_example_mapping_is_taken(tmp_path: Path) -> None:
    ((_, example),) = blocks(DOCS / "mapping.md", "toml")
    (tmp_path / "mapping.toml").write_text(example, encoding="utf-8")
    loaded = mapping.load_mapping(tmp_path / "mapping.toml")
    assert loaded.listings is not None
    assert [part.kind.constant for part in loaded.events] == [None, "impression"]


def test_every_key_of_a_source_is_in_the_table() -> None:
    keys = re.findall(r"^\| `(\w+)` \|", read(DOCS / "mapping.md"), re.M)
    assert keys == list(mapping.Source.model_fields)
