"""What the documentation says is so: names, fields, commands, links and recipes are held against the code."""

import dataclasses
import inspect
import re
import tomllib
from pathlib import Path

import pydantic
import pytest
import typer
import yaml
from documented_methods import NO_DEFAULT, defaults

from kd2deploy.cli import app
from kd2deploy.core import Gates, Variant
from kd2deploy.core.verdict import EXIT_CODES
from kd2deploy.measure.diagnosis import CHECKS
from kd2deploy.measure.statistics import samples_needed
from kd2deploy.recipe import (
    Answers,
    Caching,
    Distill,
    Measurement,
    Plan,
    Recipe,
    Shrink,
    Static,
    Student,
    Teacher,
    Tune,
)
from kd2deploy.recipe.resolve import known, load_target, locate, target_files
from kd2deploy.stages.fallback import searched
from kd2deploy.train.settings import Settings
from kd2deploy.train.shapes import CONVOLUTIONAL, ENCODERS
from kd2deploy.train.windowed import WINDOWED

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """(mark, language, text) of every fenced block; the mark is an HTML comment right above it."""
    return [(found["mark"] or "", found["kind"], found["text"]) for found in BLOCK.finditer(page.read_text())]


def first_cells(page: Path) -> list[str]:
    """The names in backquotes in the first column of every table."""
    rows = (line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("|"))
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def section(page: Path, title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no section {title!r}"
    return found[2]


# methods and recipe ---------------------------------------------------------------------------------------------


def test_every_method_has_a_row_and_every_row_is_a_method() -> None:
    assert sorted(first_cells(DOCS / "methods.md")) == known("method")
    assert f"| Methods | {len(known('method'))}," in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("method", known("method"))
def test_a_methods_row_names_its_arguments_and_needs(method: str) -> None:
    rows = {
        line.split("`")[1]: line for line in (DOCS / "methods.md").read_text().splitlines() if line.startswith("| `")
    }
    row = rows[method]
    parameters = inspect.signature(locate("method", method)).parameters
    assert [name for name in parameters if not re.search(rf"\b{name}\b", row)] == []
    built = locate("method", method)(**({"phase": 1} if "phase" in parameters else {}))
    assert [need for need in built.needs if need not in row] == []


@pytest.mark.parametrize("method", known("method"))
def test_every_default_of_a_method_is_the_documented_one(method: str) -> None:
    parameters = inspect.signature(locate("method", method)).parameters.values()
    wanted = {one.name: NO_DEFAULT if one.default is one.empty else one.default for one in parameters}
    said = defaults()[method]
    assert said == wanted
    assert [type(said[name]) for name in wanted] == [
        float if type(default) is int else type(default) for default in wanted.values()
    ]


def fields() -> dict[str, list[str]]:
    """Every field of a recipe, by the section of docs/recipe.md whose table explains it."""
    models: dict[str, list[type[pydantic.BaseModel]]] = {
        "Top level": [Recipe],
        "Teacher": [Teacher, Answers, Caching],
        "Student": [Student, Shrink, Plan, Static],
        "Distill": [Distill],
        "Measurement": [Measurement],
        "Tune": [Tune],
    }
    found = {
        title: [field.alias or name for model in kinds for name, field in model.model_fields.items()]
        for title, kinds in models.items()
    }
    found["Distill"] = ["method", "data", *(field.name for field in dataclasses.fields(Settings))]
    found["Gates"] = [field.name for field in dataclasses.fields(Gates)]
    return found


@pytest.mark.parametrize(("title", "names"), fields().items(), ids=fields())
def test_every_field_of_a_recipe_is_explained_where_it_belongs(title: str, names: list[str]) -> None:
    rows = [line.split("|")[1] for line in section(DOCS / "recipe.md", title).splitlines() if line.startswith("|")]
    said = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(names) == said


def test_the_defaults_of_a_training_are_those_of_the_settings() -> None:
    rows = [line.split("|") for line in section(DOCS / "recipe.md", "Distill").splitlines() if line.startswith("| `")]
    said = {row[1].strip(" `"): row[2].strip(" `") for row in rows}
    for field in dataclasses.fields(Settings):
        if field.default not in (None, ()):
            assert yaml.safe_load(said[field.name]) == field.default, field.name


def test_every_field_of_an_augmentation_is_explained_with_its_default() -> None:
    rows = [
        line.split("|") for line in section(DOCS / "recipe.md", "Augmentation").splitlines() if line.startswith("| `")
    ]
    said = {row[1].strip(" `"): row[2].strip(" `") for row in rows}
    reads = locate("task", "image_classification").reads  # type: ignore[attr-defined]
    known = {field.name: field.default for field in dataclasses.fields(reads.augments)}
    assert {name: None if default == "none" else yaml.safe_load(default) for name, default in said.items()} == known


def test_every_task_and_data_source_is_explained() -> None:
    told = section(DOCS / "recipe.md", "Tasks")
    for name in known("task"):
        assert f"**`{name}`**" in told
        assert [one for one in inspect.signature(locate("task", name)).parameters if f"`{one}`" not in told] == []
    assert set(known("data")) <= set(first_cells(DOCS / "recipe.md"))


def all_blocks() -> list[tuple[str, str, str, str]]:
    """(page, mark, language, text) of every fenced block of every page."""
    return [(page.name, *block) for page in PAGES for block in blocks(page)]


RECIPES = [(page, text) for page, mark, _, text in all_blocks() if mark == "recipe"]


def test_the_pages_hold_recipes() -> None:
    assert {page for page, _ in RECIPES} >= {"recipe.md", "how-to.md"}


@pytest.mark.parametrize(("page", "text"), RECIPES, ids=[page for page, _ in RECIPES])
def test_the_recipes_in_the_docs_are_sound(
    page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that a page asks its reader to write (`<!-- file: NAME -->`) are written beside the recipe."""
    for name, mark, _, code in all_blocks():
        if name == page and mark.startswith("file: "):
            (tmp_path / mark.removeprefix("file: ")).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    found = Recipe.parse(yaml.safe_load(text))
    assert Recipe.parse(found.spec()) == found


def test_the_converter_of_the_how_to_is_taken_for_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, mark, _, code in all_blocks():
        if name == "how-to.md" and mark in ("file: my_converters.py", "file: my-target.yaml"):
            (tmp_path / mark.removeprefix("file: ")).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    target = load_target(str(tmp_path / "my-target.yaml"))
    step = target.variants["pruned"].steps[1]
    assert searched(target.variants["pruned"]) == 1
    assert searched(target.variants["plain"]) is None
    assert searched(Variant(steps=({**step, "keep": 1.0},))) is None


@pytest.mark.parametrize("text", [text for _, _, kind, text in all_blocks() if kind == "python"])
def test_the_python_in_the_docs_compiles(text: str) -> None:
    assert compile(text, "docs", "exec").co_code


# the rest -------------------------------------------------------------------------------------------------------


def test_the_checks_of_ci_stand_in_contributing() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    checks = [line for line in lines if line.split(" ")[0] in ("ruff", "mypy", "pytest")]
    assert len(checks) >= 4
    said = "\n".join(text for _, _, text in blocks(ROOT / "CONTRIBUTING.md"))
    assert "\n".join(checks[:4]) in said
    assert all(check in said for check in checks[4:])


def test_every_marker_is_explained() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    said = first_cells(ROOT / "CONTRIBUTING.md")
    assert [line.split(":")[0] for line in options["markers"] if line.split(":")[0] not in said] == []


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.match(r"[A-Za-z0-9_-]+", one)[0] for one in wanted} - {project["name"]}  # type: ignore[index]
    cells = [line.split("|") for line in (DOCS / "dependencies.md").read_text().splitlines() if line.startswith("|")]
    said = {cell.strip() for row in cells for cell in row[1:3]}
    assert sorted(names - said) == []


@every_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name} links to {link}"
        if heading:
            assert heading in anchors(target), f"{page.name} links to {link}; there are {sorted(anchors(target))}"


def anchors(page: Path) -> set[str]:
    """Headings as they are linked to: lower case, spaces to hyphens, punctuation gone."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def named_commands(page: Path) -> list[str]:
    """What stands after `kd2deploy` in code: in fenced shell blocks and in backquotes."""
    shell = [text for _, kind, text in blocks(page) if kind == "sh"]
    prose = BLOCK.sub("", page.read_text())
    pieces = [*shell, *re.findall(r"`(?:PYTHONPATH=\. )?(kd2deploy [^`]+)`", prose)]
    return [found[1] for piece in pieces for found in re.finditer(r"(?<![\w/'\[.])kd2deploy +([^\n&]+)", piece)]


@every_page
def test_every_command_and_flag_that_is_named_exists(page: Path) -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    for line in named_commands(page):
        words = line.split()
        if words[0] == "--help":
            continue
        assert words[0] in commands, f"{page.name}: kd2deploy {line}"
        flags = {flag for option in commands[words[0]].params for flag in option.opts}
        assert [word for word in words if word.startswith("--") and word not in flags] == [], f"{page.name}: {line}"


def test_every_command_is_named_somewhere() -> None:
    said = {line.split()[0] for page in PAGES for line in named_commands(page)}
    assert set(typer.main.get_command(app).commands) - said == set()  # type: ignore[attr-defined]


def test_the_exit_codes_are_those_of_the_verdict() -> None:
    said = re.findall(r"^\| (\d) \| (PASS|FAIL|INCONCLUSIVE|INVALID)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name: int(code) for code, name in said} == {outcome.value: code for outcome, code in EXIT_CODES.items()}


def test_the_samples_that_a_percentile_needs_are_those_of_the_rule() -> None:
    rows = [
        line for line in (DOCS / "measurement.md").read_text().splitlines() if re.match(r"\| (none|one|five) ", line)
    ]
    for allowed, row in zip((0, 1, 5), rows, strict=True):
        said = [int(cell.replace(",", "")) for cell in row.split("|")[2:-1]]
        assert said == [samples_needed(share, allowed) for share in (0.5, 0.9, 0.95, 0.99, 0.999)]


def test_every_finding_of_the_diagnosis_is_explained() -> None:
    source = inspect.getsource(inspect.getmodule(CHECKS[0]))  # type: ignore[arg-type]
    words = set(re.findall(r'Diagnosis\(\s*"([^"]+)"', source)) - {"failed"}
    said = section(DOCS / "how-to.md", "Not faster: what the diagnosis lines mean")
    assert len(words) >= 9
    assert [word for word in words if f"| {word} |" not in said] == []


def named_in_readme(row: str) -> set[str]:
    """What a row of the README's table of what is supported names as code."""
    text = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| {row} "))
    return set(re.findall(r"`([a-z0-9_-]+)`", text))


def test_the_targets_that_the_readme_names_are_shipped() -> None:
    assert named_in_readme("Targets") == set(target_files())


def test_the_tasks_and_sources_that_the_readme_names_are_all_there_are() -> None:
    assert named_in_readme("Tasks") == set(known("task"))
    in_words = {"files", "hub", "more", "pseudo_labels", "data_free"}
    assert named_in_readme("Data") == set(known("data")) - in_words


def test_the_families_that_the_readme_names_are_those_that_students_are_cut_from() -> None:
    row = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| Networks "))
    named = row.partition("Students cut out of the teacher: ")[2].partition(". ")[0]
    assert {name.lower() for name in named.split(", ")} == ENCODERS | CONVOLUTIONAL | WINDOWED
