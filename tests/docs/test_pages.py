"""Links lead somewhere, commands exist, and nothing stands there that must not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import markdown
import pytest

from tests.docs.manual import DOCS, ROOT, console, pages, prose, text_of

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FORBIDDEN = {
    "a path of one machine": r"/root/|/home/\w",
}
SHIPPED = [
    *pages(),
    *sorted(path for path in (ROOT / "packaging").rglob("*") if path.is_file()),
    *sorted(DOCS.rglob("*.svg")),
]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    """As Markdown makes them from headings: small letters, no signs, blanks as dashes."""
    heads = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(text_of(page)):
        if target.startswith("https://"):
            continue
        place, _, anchor = target.partition("#")
        path = (page.parent / place).resolve() if place else page
        assert path.is_file(), target
        assert path.is_relative_to(ROOT), target
        if page.is_relative_to(DOCS):
            assert path.is_relative_to(DOCS), f"{target} is not in the built site"
        if anchor:
            assert anchor in _anchors(path), target


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_nothing_forbidden_is_said(path: Path) -> None:
    for what, pattern in FORBIDDEN.items():
        found = re.search(pattern, path.read_text("utf-8"))
        assert found is None, what


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_heading_and_table_is_rendered_as_one(page: Path) -> None:
    """A blank line that is missing makes a heading a row of the table above it."""
    html = markdown.markdown(text_of(page), extensions=["tables", "pymdownx.superfences"])
    lines = prose(page).splitlines()
    headings = [line for line in lines if re.match(r"#{1,6} ", line)]
    assert len(re.findall(r"<h[1-6][ >]", html)) == len(headings)
    rows = [
        line
        for line in lines
        if line.startswith("|") and not re.fullmatch(r"[|: -]*-[|: -]*", line)
    ]
    assert html.count("<tr>") == len(rows)


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").split("\nnav:\n", 1)[1]
    names = re.findall(r"([\w/-]+\.md)$", nav, re.MULTILINE)
    assert sorted(names) == sorted(_name(p).removeprefix("docs/") for p in DOCS.rglob("*.md"))


def test_pictures_are_well_formed_and_ask_no_one() -> None:
    found = sorted((DOCS / "assets").glob("*.svg"))
    assert found
    for path in found:
        root = ET.fromstring(path.read_text("utf-8"))  # noqa: S314 - our own file
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not re.search(r"href=|<script|<image|@import|url\(http", path.read_text("utf-8"))


def test_decisions_are_dated_numbered_and_listed() -> None:
    index = text_of(DOCS / "decisions" / "index.md")
    found = sorted((DOCS / "decisions").glob("0*.md"))
    assert [int(page.name[:4]) for page in found] == list(range(1, len(found) + 1))
    for page in found:
        head, blank, date = text_of(page).splitlines()[:3]
        assert head.startswith(f"# {page.name[:4]} ")
        assert blank == ""
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", date)
        assert f"]({page.name})" in index


def test_dev_has_the_commands_that_are_told() -> None:
    dev = (ROOT / "dev").read_text("utf-8")
    cases = {
        name
        for line in re.findall(r"^  ([a-z |-]+)\)$", dev, re.MULTILINE)
        for name in line.split(" | ")
    }
    for page in pages():
        told = set(re.findall(r"\./dev ([a-z]+)", text_of(page)))
        assert told <= cases, page.name
    assert {"./dev demo", "./dev test"} <= {
        line.split("#")[0].strip() for line in console(ROOT / "README.md")
    }


def test_installation_of_the_manual_is_the_one_that_is_checked() -> None:
    """Every `pip install` of a node takes the wheels of `./dev wheels`, as the smoke run does."""
    installed = "install --no-index --find-links build/wheels"
    checks = " ".join((ROOT / "dev").read_text("utf-8").split())
    assert "install -q --no-compile --no-index --find-links build/wheels" in checks
    for name in ("docs/install.md", "docs/operate.md"):
        lines = [line for line in console(ROOT / name) if "pip install" in line]
        assert lines, name
        assert all(installed in line and line.endswith("backhaul") for line in lines), name
        assert any(line.startswith("./dev wheels") for line in console(ROOT / name)), name


def test_help_of_dev_sets_nothing_up(tmp_path: Path) -> None:
    """In a fresh clone, for every command; `false` stands for whatever would set something up."""
    shutil.copy(ROOT / "dev", tmp_path / "dev")
    for program in ("python3", "java", "mvn", "apt-get"):
        (tmp_path / program).symlink_to("/bin/false")
    for command in ("demo", "test", "lint", "testbed", "bench", "torture", "fuzz", "prove", "lock"):
        done = subprocess.run(
            ["bash", str(tmp_path / "dev"), command, "--help"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": "false"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("usage: ./dev COMMAND"), command
        assert not (tmp_path / ".venv").exists(), command


def test_files_named_in_the_architecture_exist() -> None:
    source = ROOT / "src" / "backhaul"
    for name in re.findall(
        r"`([a-z_0-9]+(?:/[a-z_0-9]+)*\.py)`", text_of(ROOT / "ARCHITECTURE.md")
    ):
        assert (source / name).is_file(), name


def test_layers_of_the_architecture_are_those_of_the_contract() -> None:
    contract = (
        (ROOT / "pyproject.toml").read_text("utf-8").split("layers = [", 1)[1].split("]", 1)[0]
    )
    layers = re.findall(r'"([^"]+)"', contract)
    told = next(
        line for line in text_of(ROOT / "ARCHITECTURE.md").splitlines() if line.startswith("cli →")
    )
    assert told.split(" → ") == [
        layer.replace("cli | (__main__)", "cli") for layer in layers if layer != "__main__"
    ]


def test_files_of_the_packaging_named_in_the_manual_exist() -> None:
    for page in pages():
        for name in re.findall(r"packaging/[\w./@-]+\w", text_of(page)):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
