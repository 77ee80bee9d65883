"""What extensions may rely on, as two texts: ``face.txt`` spells it out, ``docs/face.md`` lists it.

``python -m tests.house.test_face`` writes both anew; the difference is what is reviewed.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest
from packaging.version import Version

import gatehouse
from app import __version__
from app.config import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FACE_FILE: Final = ROOT / "gatehouse" / "__init__.py"
TEXT: Final = ROOT / "tests" / "house" / "face.txt"
PAGE: Final = ROOT / "docs" / "face.md"
OPEN: Final = ("Settings", "User")
"""To these, those who edit the product itself add fields; what is there stays, and the next writing takes them up."""
COMMAND: Final = ".venv/bin/python -m tests.house.test_face"

_FIELD_TEXT: Final = re.compile(r"""^( *)((['"])(?!['"]).*\3)$""", re.MULTILINE)

Definition: TypeAlias = "tuple[Path, list[ast.stmt]]"
"""A file, and the statements in it that define a name; without any, the name is the file's own."""


# --- where a name is defined ---


@functools.cache
def parse(path: Path) -> list[ast.stmt]:
    """Return the statements of a file."""
    return ast.parse(path.read_text()).body


def find_module(path: Path, level: int, module: str) -> Path | None:
    """Return the file of a module that ``path`` imports, if it is ours."""
    folder = path.parents[level - 1] if level else ROOT
    place = folder.joinpath(*module.split(".")) if module else folder
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if file.is_file() and "site-packages" not in file.parts), None)


def find_definition(path: Path, name: str) -> Definition | None:
    """Return what defines ``name`` for the file ``path``, imports followed; None if that is not ours."""
    found: list[ast.stmt] = []
    for node, following in pairwise([*parse(path), ast.Pass()]):
        if isinstance(node, ast.ImportFrom):
            origin = next((each.name for each in node.names if (each.asname or each.name) == name), None)
            if origin is not None:
                return find_imported(path, node, origin)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            found.append(node)
        elif name in list_targets(node):
            found += [node, following] if is_text(following) else [node]
    return (path, found) if found else None


def find_imported(path: Path, node: ast.ImportFrom, name: str) -> Definition | None:
    """Return what defines ``name``, which ``path`` imports."""
    module = f"{node.module or ''}.{name}".strip(".")
    file = find_module(path, node.level, module)
    if file is not None:
        return file, []
    origin = find_module(path, node.level, node.module or "")
    return None if origin is None else find_definition(origin, name)


def list_targets(node: ast.stmt) -> list[str]:
    """Return the names that an assignment gives a value."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def is_text(node: ast.stmt) -> bool:
    """Say whether a statement is nothing but a text, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# --- how it is written ---


def is_public(name: str) -> bool:
    """Say whether others may use an attribute of that name; a method such as __iter__ is one to use."""
    return not name.startswith("_") or name.endswith("__")


def write_promise(path: Path, node: ast.stmt) -> ast.stmt:
    """Return a definition without what may change behind it: bodies, private members, how a field is made."""
    node = copy.deepcopy(node)
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
        node.value = ast.Call(node.value.func, [ast.Constant(...)], [])
    if isinstance(node, ast.FunctionDef):
        node.body = node.body[:1] if is_text(node.body[0]) else [ast.Expr(ast.Constant(...))]
    elif isinstance(node, ast.ClassDef):
        node.body = list(list_members(path, node)) or [ast.Expr(ast.Constant(...))]
    return node


def list_members(path: Path, node: ast.ClassDef) -> Iterator[ast.stmt]:
    """Return the public members of a class, and those of its bases that the face does not name."""
    if is_text(node.body[0]):
        yield node.body[0]
    known: set[str] = set()
    for owner, body in [(path, node.body), *list_bases(path, node)]:
        for member, following in pairwise([*body, ast.Pass()]):
            name = next(iter(list_targets(member)), getattr(member, "name", "_"))
            is_field = isinstance(member, ast.Assign | ast.AnnAssign)
            if not is_public(name) or (is_field and name.startswith("_")) or name in known:
                continue
            yield write_promise(owner, member)
            if is_field and is_text(following):
                yield following
        known |= {getattr(member, "name", "") for member in body}


def list_bases(path: Path, node: ast.ClassDef) -> Iterator[tuple[Path, list[ast.stmt]]]:
    """Return the bodies of a class's bases that are ours and have no entry of their own."""
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        found = None if name in gatehouse.__all__ else find_definition(path, name)
        if found is not None and found[1] and isinstance(found[1][0], ast.ClassDef):
            yield found[0], found[1][0].body
            yield from list_bases(found[0], found[1][0])


def write_entry(name: str) -> str:
    """Return what is promised about ``name``."""
    found = find_definition(FACE_FILE, name)
    if found is None:
        # Another library's.
        promise = getattr(gatehouse, name)
        return f'{promise.__module__}.{name}\n"""{(promise.__doc__ or "").strip()}"""'
    path, nodes = found
    if not nodes:
        first, *rest = parse(path)
        nodes = [first, *(each for each in rest if isinstance(each, ast.FunctionDef) and is_public(each.name))]
    elif isinstance(value := getattr(nodes[0], "value", None), ast.Call):
        made = find_definition(path, ast.unparse(value.func))
        nodes += [] if made is None else made[1]
    lines = "\n".join(ast.unparse(ast.fix_missing_locations(write_promise(path, node))) for node in nodes)
    # The texts that describe fields look as those of functions do.
    return re.sub(_FIELD_TEXT, lambda text: f'{text[1]}"""{ast.literal_eval(text[2])}"""', lines)


def find_summary(name: str) -> str:
    """Return the first line of what is said about ``name``."""
    text = re.search(r'"""(.*?)(\n|""")', write_entry(name))
    assert text is not None, f"gatehouse.{name} has no docstring"
    return text[1].replace("``", "`")


# --- the two texts ---


def write_text() -> str:
    """Return all that is promised."""
    names = sorted(gatehouse.__all__, key=str.lower)
    deprecated = [f"deprecated {old}: {new}, until {release}" for old, (new, release) in gatehouse.DEPRECATED.items()]
    return (
        "\n\n".join([f"face {gatehouse.FACE}", *deprecated, *(f"# {name}\n{write_entry(name)}" for name in names)])
        + "\n"
    )


def list_groups() -> Mapping[str, Sequence[str]]:
    """Return the names in the groups of ``__all__``."""
    groups: dict[str, list[str]] = {}
    listed = re.search(r"^__all__ = \[.*?\n(.*?)^\]", FACE_FILE.read_text(), re.MULTILINE | re.DOTALL)
    assert listed is not None
    for line in listed[1].splitlines():
        if line.strip().startswith("#"):
            groups[line.strip("# ")] = []
        else:
            groups[list(groups)[-1]] += re.findall(r'"(\w+)"', line)
    return groups


def write_page(former: str) -> str:
    """Return the page with its list written anew; what is above the list stays."""
    lists = [
        "\n".join([f"## {group}", "", *(f"- `{name}`: {find_summary(name)}" for name in names)])
        for group, names in list_groups().items()
    ]
    return "\n\n".join([former.partition("\n## ")[0].strip(), *lists]) + "\n"


def split_entries(text: str) -> tuple[str, dict[str, str]]:
    """Return the number of a face, and the entries of its text by their names."""
    head, *entries = re.split(r"^# (?=\w+$)", text, flags=re.MULTILINE)
    return head.split()[1], {name: entry.strip() for name, _, entry in (each.partition("\n") for each in entries)}


def leave_out_fields(text: str, name: str, *, known: str) -> str:
    """Return ``text`` without the fields of ``name`` that the text ``known`` does not have."""
    lines = split_entries(known)[1][name].splitlines()
    head, start, rest = text.partition(f"# {name}\n")
    entry, end, others = rest.partition("\n\n# ")
    kept = [line for line in entry.splitlines() if line in lines or not re.match(r"    \w+:", line)]
    return head + start + "\n".join(kept) + end + others


def check_additive(former: str, text: str) -> list[str]:
    """Return the entries that changed, for whoever reviews them.

    Raises:
        ValueError: names are gone, and the face has the same number.
    """
    (old_face, old), (new_face, new) = split_entries(former), split_entries(text)
    gone = old.keys() - new.keys() - set(re.findall(r"^deprecated (\w+):", text, re.MULTILINE))
    if gone and old_face == new_face:
        raise ValueError(
            f"gatehouse offers {', '.join(sorted(gone))} no longer. Put each into DEPRECATED for two minor releases,"
            " or raise FACE."
        )
    return sorted(name for name in old.keys() & new.keys() if old[name] != new[name])


def write_both() -> None:
    """Write both texts, and say which promises changed."""
    text = write_text()
    try:
        changed = check_additive(TEXT.read_text(), text)
    except ValueError as error:
        sys.exit(str(error))
    TEXT.write_text(text)
    PAGE.write_text(write_page(PAGE.read_text()))
    sys.stdout.write(f"Changed: {', '.join(changed) or 'nothing'}. What takes something away needs a higher FACE.\n")


# --- the tests ---


def test_what_extensions_may_rely_on_is_what_was_reviewed() -> None:
    former, text = TEXT.read_text(), write_text()
    for name in OPEN:
        former, text = [leave_out_fields(each, name, known=former) for each in (former, text)]
    assert former == text, f"To write the text anew, and then review the difference: {COMMAND}"


def test_a_column_or_a_setting_more_is_the_matter_of_whoever_adds_it() -> None:
    former = "face 1\n\n# User\nclass User(Base):\n    id: Mapped[uuid.UUID]\n\n# db\ndb: Database\n"
    more = former.replace("UUID]\n", "UUID]\n    nickname: Mapped[str | None]\n")
    assert leave_out_fields(more, "User", known=former) == former
    assert leave_out_fields(former, "User", known=more) == former
    assert leave_out_fields(more, "User", known=more) == more


def test_the_page_lists_what_the_face_has() -> None:
    assert PAGE.read_text() == write_page(PAGE.read_text()), f"To write the list anew: {COMMAND}"


def test_each_name_is_in_one_group() -> None:
    listed = [name for names in list_groups().values() for name in names]
    assert sorted(listed) == sorted(gatehouse.__all__)
    assert len(listed) == len(set(listed))


def test_a_name_that_is_gone_takes_a_higher_face_or_a_time_of_warnings() -> None:
    former = "face 1\n\n# Money\nclass Money:\n    ...\n\n# db\ndb: Database\n"
    without = "face 1\n\n# db\ndb: Database\n"
    with pytest.raises(ValueError, match="no longer") as caught:
        check_additive(former, without)
    assert "Money" in str(caught.value)
    assert check_additive(former, without.replace("face 1", "face 2")) == []
    assert (
        check_additive(former, without.replace("face 1\n", "face 1\n\ndeprecated Money: Decimals, until 0.4\n")) == []
    )


def test_a_signature_that_changed_is_named() -> None:
    former = "face 1\n\n# now\ndef now() -> datetime:\n    ...\n"
    assert check_additive(former, former.replace("now()", "now(zone)")) == ["now"]
    assert check_additive(former, former + "\n# then\nthen: int\n") == []


def test_a_deprecated_name_works_and_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatehouse, "DEPRECATED", {"Wording": ("Text", "0.4")})
    with pytest.warns(DeprecationWarning, match=r"gatehouse\.Wording goes in 0\.4: use gatehouse\.Text") as warned:
        assert gatehouse.Wording is gatehouse.Text  # type: ignore[attr-defined] # deprecated for this test alone
    assert warned[0].filename == __file__
    with pytest.raises(AttributeError, match="no attribute 'Phrase'"):
        gatehouse.Phrase  # type: ignore[attr-defined] # noqa: B018 - nor was it ever there


def test_what_is_deprecated_goes_when_it_was_to_go() -> None:
    for instead, release in gatehouse.DEPRECATED.values():
        assert instead in gatehouse.__all__
        assert Version(__version__) < Version(release)


if __name__ == "__main__":
    write_both()
