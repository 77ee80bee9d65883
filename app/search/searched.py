"""Models whose rows are found by words: each keeps their search text in step."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Mapper, declared_attr, mapped_column

from .text import SearchText, make_search_text


class Searched:
    """A part of a model whose rows are found by words of the columns that ``__searched__`` names.

    Give ``search_text`` to a ``Listing`` as what is ``searched``. A large table wants a ``SearchIndex`` too.
    """

    __searched__: ClassVar[Sequence[str]]

    @declared_attr
    def search_text(cls) -> Mapped[str]:  # noqa: N805 - a class it is
        """What rows are found by; the databases keep their indexes in step with it."""
        names = cls.__searched__

        def make(context: Any) -> str:  # noqa: ANN401 - SQLAlchemy's context of one INSERT
            values = context.get_current_parameters()
            return make_search_text(*_list_texts(map(values.get, names)))

        return mapped_column(SearchText, default=make, server_default="", deferred=True, sort_order=2)


@sa.event.listens_for(Searched, "before_update", propagate=True)
def _keep_search_text(_mapper: Mapper[Any], _connection: object, row: Any) -> None:  # noqa: ANN401 - a row of any model
    attributes = sa.inspect(row).attrs
    if any(attributes[name].history.has_changes() for name in row.__searched__):
        row.search_text = make_search_text(*_list_texts(getattr(row, name) for name in row.__searched__))


def _list_texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values if value is not None]
