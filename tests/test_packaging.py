"""What an index, a citation and an installer read of the project is the same, and every extra serves something."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import yaml

import kd2deploy

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_place_names_the_same_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == kd2deploy.__version__ == cited["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_license_is_named_alike_and_lies_in_the_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["license"] == cited["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


def test_the_classifiers_name_the_pythons_that_are_asked_for() -> None:
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert PROJECT["requires-python"] == f">={min(named, key=lambda one: tuple(map(int, one.split('.'))))}"
    said = re.search(r"^Python (.+)\.$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert said is not None
    assert re.findall(r"3\.\d+", said[1]) == named


def test_every_extra_brings_a_package_that_the_program_or_its_tests_import() -> None:
    """By the modules that a package brings; what is not installed here is not looked at."""
    modules = importlib.metadata.packages_distributions()
    code = "\n".join(
        file.read_text()
        for folder in ("kd2deploy", "exporters", "tests", "benchmarks", ".ci")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix in (".py", ".yaml", ".sh", "") and "node_modules" not in file.parts
    )
    tools = {
        "types-PyYAML",
        "pytest-cov",
        "pytest-xdist",
        "pyOpenSSL",
        "alembic",
        "sqlalchemy",
    }  # used by their presence alone, or by another package
    idle = []
    for extra in PROJECT["optional-dependencies"].values():
        for wanted in extra:
            name = re.split(r"[<>=\[~!;]", wanted)[0]
            brings = [module for module, owners in modules.items() if name.lower() in map(str.lower, owners)]
            if name != "kd2deploy" and name not in tools and brings:
                words = [name, *brings]
                idle += [wanted] if not any(re.search(rf"\b{re.escape(word)}\b", code) for word in words) else []
    assert idle == []


def test_no_two_test_files_share_a_name() -> None:
    """Such files stop the collection of all, but only where they are collected together."""
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert [name for name in names if names.count(name) > 1] == []
