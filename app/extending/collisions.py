"""What two owners would both have."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Owned(NamedTuple):
    """Something of a name that only one may have."""

    kind: str
    name: str
    owner: str


def find_collisions(everything: Iterable[Owned]) -> Iterator[str]:
    """Yield, for each thing that has more than one owner, or one owner twice, all of them by name."""
    owners: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for kind, name, owner in everything:
        owners[kind, name].append(owner)
    for (kind, name), found in owners.items():
        if len(found) == 2 and found[0] == found[1]:
            yield f"{found[0]} has the {kind} {name} twice: rename one"
        elif len(found) > 1:
            yield f"the {kind} {name} belongs to {' and to '.join(dict.fromkeys(found))}: rename one"
