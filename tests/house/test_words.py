"""One word, one meaning, in plain English: what a reader of code, log and manual meets."""

from __future__ import annotations

import ast
import re

from scripts.make_glossary import page
from tests.house.source import ROOT, SRC, module_name, modules, tree

MOST_PER_1000_LINES = 3
# Words that once served as terms of a private dialect; the field has better ones.
FAMILIES = re.compile(
    r"(?<![A-Za-z])(?:(?:un)?(?:tell(?:s|ing)?|told)|ask(?:s|ed|ing)?|say(?:s|ing)?|said"
    r"|stand(?:s|ing)?|stood|mend(?:s|ed|ing)?|nobody|whoever)(?![A-Za-z])",
    re.IGNORECASE,
)
GLOSSARY = ROOT / "docs" / "glossary.md"
PROPERTY = re.compile(r"\b(?:[SL][1-9]|E1)\b(?!\.)")


def _words(text: str) -> list[str]:
    """With names taken apart: `is_asked` and `isAsked` have two words each."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).replace("_", " ")
    return FAMILIES.findall(apart)


def test_the_private_dialect_is_gone() -> None:
    texts = [path.read_text("utf-8") for path in modules()]
    lines = sum(len(text.splitlines()) for text in texts)
    hits = sum(len(_words(text)) for text in texts)
    assert hits * 1000 <= MOST_PER_1000_LINES * lines, f"{hits} in {lines} lines"


def test_words_are_found_inside_names() -> None:
    assert _words("is_asked, isTold, untold; standing. Basking, mandate, Nobody") == [
        *("asked", "Told", "untold", "standing", "Nobody"),
    ]


def test_the_glossary_has_every_public_noun_of_the_core_and_nothing_that_is_gone() -> None:
    """Where it fails: `python scripts/make_glossary.py`."""
    assert GLOSSARY.read_text("utf-8") == page()


def test_every_property_that_is_cited_is_defined_in_the_manual() -> None:
    manual = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    defined = set(re.findall(r"^\| ([SLE]\d) \|", manual, re.MULTILINE))
    cited = set()
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                cited |= set(PROPERTY.findall(ast.get_docstring(node) or ""))
        for line in path.read_text("utf-8").splitlines():
            cited |= set(PROPERTY.findall(line.partition("# ")[2]))
    assert cited
    assert cited <= defined


# ---------------------------------------------------------------- docstrings


def _names() -> set[str]:
    """Every name that a docstring may point at: modules, and what they define, at any depth."""
    found: set[str] = set()
    for path in modules():
        parts = module_name(path).split(".")
        inside = {
            node.name
            for node in ast.walk(tree(path))
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
        }
        inside |= {
            target.id
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        inside |= {
            node.target.id
            for node in ast.walk(tree(path))
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        if path.name == "__init__.py":  # what it hands on is named by it, too
            inside |= {
                alias.asname or alias.name
                for node in ast.walk(tree(path))
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
        for start in range(len(parts)):
            module = ".".join(parts[start:])
            found.add(module)
            found |= {f"{module}.{name}" for name in inside}
    return found


def _own_modules() -> set[str]:
    return {module_name(path).rpartition(".")[2] for path in modules()} - {"backhaul"}


DOTTED = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*\.[A-Za-z_]+)`")


def test_a_module_that_a_docstring_names_is_there() -> None:
    names, own = _names(), _own_modules()
    lost = []
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                lost += [
                    f"{path.relative_to(SRC)}: {dotted}"
                    for dotted in DOTTED.findall(ast.get_docstring(node) or "")
                    if dotted.split(".")[0] in own and dotted not in names
                ]
    assert not lost


def test_every_documented_argument_is_one() -> None:
    wrong = []
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                taken: set[str] | None = _arguments(node)
            elif isinstance(node, ast.ClassDef):
                inits = [part for part in node.body if _is_init(part)]
                taken = _arguments(inits[0]) if inits else None
            else:
                continue
            if taken is not None:
                documented = _documented(ast.get_docstring(node) or "", "Args")
                wrong += [
                    f"{path.relative_to(SRC)}: {node.name}: {name}"
                    for name in documented
                    if name not in taken
                ]
    assert not wrong


def _is_init(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _arguments(node: ast.stmt) -> set[str]:
    assert isinstance(node, ast.FunctionDef)
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {arg.arg for arg in (*every, arguments.vararg, arguments.kwarg) if arg is not None}


def _documented(docstring: str, section: str) -> list[str]:
    """Names of a Google-style section: indented by four, then a colon."""
    match = re.search(rf"^{section}:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    if match is None:
        return []
    heads = re.findall(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*):", match[1], re.MULTILINE)
    return [name.strip("* ") for head in heads for name in head.split(",")]
