"""``keys``: the keys that sign and encrypt."""

import dataclasses

from app.services import mails

from .terminal import OperatorGroup, Report

keys_group = OperatorGroup("keys", help="Look after SECRET_KEY and SECRET_KEY_FALLBACKS.")


@keys_group.command("rotate")
def rotate() -> Report:
    """Encrypt mails that wait under SECRET_KEY, so that its predecessor can leave SECRET_KEY_FALLBACKS.

    Restart servers and workers with the new key first. Running it again changes nothing.
    """
    total = mails.reseal()
    while total.last_id is not None:
        more = mails.reseal(after=total.last_id)
        total = dataclasses.replace(
            more,
            current=total.current + more.current,
            rotated=total.rotated + more.rotated,
            unreadable=total.unreadable + more.unreadable,
        )
    data = {"current": total.current, "rotated": total.rotated, "unreadable": total.unreadable}
    lines = [f"Encrypted under the new key: {total.rotated}. Were so before: {total.current}."]
    if total.unreadable:
        lines.append(f"Given up, because no key opens them: {total.unreadable}. Put their key back, then retry them.")
    return Report(data, lines, exit_code=1 if total.unreadable else 0)
