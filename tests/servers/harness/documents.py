"""What a document tells its readers to type: files to write, and commands to run."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# `folder/file.py`, alone before a colon at the end of the paragraph above the block.
_BLOCK = re.compile(r"(?P<above>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"`(?P<path>[\w./-]+\.\w+|\.\w+)`[^`]*:$")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of a document: its language, its text, and the file that it is to be written to, if there is one."""

    language: str
    text: str
    path: str | None


def read_blocks(document: str) -> Iterator[Block]:
    """Yield the blocks of a document that stand under a line of their own."""
    for match in _BLOCK.finditer(document):
        file = _FILE.search(match["above"])
        yield Block(match["language"], match["text"], file["path"] if file else None)


def get_section(document: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    return document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
