from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def read_lock(name: str) -> dict[str, set[str]]:
    """Return the pinned packages with the extras that they are pinned with."""
    lines = re.findall(r"^([a-z0-9-]+)(?:\[([a-z0-9,-]+)\])?==", (ROOT / name).read_text(), re.MULTILINE)
    return {package: set(filter(None, extras.split(","))) for package, extras in lines}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_what_is_wanted_with_an_extra_is_pinned_with_it(name: str) -> None:
    # pip takes a package without the extra for another one, looks for its newest release, and refuses that for having
    # no hash: the lock works until the package's next release, and then on no new machine.
    lock = read_lock(name)
    wanted = {
        (requirement.name.lower(), extra)
        for package in lock.keys() & {found.name.lower() for found in metadata.distributions()}
        for requirement in map(Requirement, metadata.requires(package) or ())
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": own}) for own in {"", *lock[package]})
        for extra in requirement.extras
    }
    assert wanted
    assert {(package, extra) for package, extra in wanted if extra not in lock.get(package, ())} == set()
