"""The Lua scripts, and the commands that run them."""

import struct
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Final, NamedTuple

from app.ratelimit.plan import EXACT_AMOUNT_MAX, Charge
from app.ratelimit.store import StoreUnavailable, Values
from app.ratelimit.subject import encode_subject

from .protocol import Reply, pack_command

_FOLDER: Final = Path(__file__).with_name("lua")
_ANSWERS: Final = {fields: struct.Struct(f"<{fields}d") for fields in range(3, 3 + 3 * 65, 3)}
_REFUND: Final = struct.Struct("<ddd")
_MERGE: Final = struct.Struct("<ddddd")


class Script(NamedTuple):
    """A script by its text and by the name that Redis gives it."""

    source: bytes
    sha: bytes


def _read(name: str) -> Script:
    source = (_FOLDER / f"{name}.lua").read_bytes()
    return Script(source, sha1(source, usedforsecurity=False).hexdigest().encode())


DECIDE: Final = _read("decide")
REFUND: Final = _read("refund")
MERGE: Final = _read("merge")
LOAD_ALL: Final = b"".join(pack_command(b"SCRIPT", b"LOAD", script.source) for script in (DECIDE, REFUND, MERGE))
LOAD_ALL_COUNT: Final = 3

# Ready-made beginnings and ends of the commonest command, by the number of keys.
_HEADS: Final = [b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % (keys + 4, DECIDE.sha) for keys in range(65)]
_COUNTS: Final = [b"$%d\r\n%d\r\n" % (len(str(keys)), keys) for keys in range(65)]


def pack_decide(charges: Sequence[Charge]) -> bytes:
    """Return the command that decides ``charges`` together, all of whose keys are in one place."""
    keys_count, keys, spec = 0, b"", b""
    for plan, subject, cost, _kind in charges:
        keys_count += len(plan.rows)
        keys += plan.fill_keys(encode_subject(subject).encode())
        spec += plan.spec(cost)
    return b"%b%b%b$%d\r\n%b\r\n" % (_HEADS[keys_count], _COUNTS[keys_count], keys, len(spec), spec)


def pack_refund(charges: Sequence[Charge], stamps: Sequence[float]) -> bytes:
    """Return the command that gives back what ``charges`` took under ``stamps``."""
    remaining = iter(stamps)
    keys = [key for charge in charges for key in charge.plan.name_keys(charge.subject)]
    spec = b"".join(
        _REFUND.pack(limit.bucket_us, next(remaining), charge.cost)
        for charge in charges
        for limit in charge.plan.limits
    )
    return _pack_script(REFUND, keys, spec)


def pack_merge(charge: Charge, *, age_us: float) -> bytes:
    """Return the command that adds what was admitted ``age_us`` microseconds ago without this server."""
    plan, subject, cost, _kind = charge
    spec = b"".join(_MERGE.pack(limit.amount, limit.window_us, limit.bucket_us, cost, age_us) for limit in plan.limits)
    return _pack_script(MERGE, plan.name_keys(subject), spec, b"%d" % EXACT_AMOUNT_MAX)


def _pack_script(script: Script, keys: Sequence[str], *arguments: bytes) -> bytes:
    names = [key.encode() for key in keys]
    return pack_command(b"EVALSHA", script.sha, b"%d" % len(names), *names, *arguments)


def read_values(reply: Reply) -> Values:
    """Return the numbers in a script's answer.

    Raises:
        StoreUnavailable: this is no answer.
    """
    if isinstance(reply, bytes) and (answer := _ANSWERS.get(len(reply) // 8)) is not None:
        return answer.unpack(reply)
    raise StoreUnavailable("not an answer")
