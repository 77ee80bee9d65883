"""Search for words and beginnings of words, with the same answers on SQLite, PostgreSQL and MySQL.

Three full-text engines agree on little: where words end, which are too short or too common, which letters are one. So
none of that is left to them. ``make_search_text`` folds and cuts text in Python into words of plain ASCII letters and
digits that every engine indexes as they stand; a table of whoever wants to be searched keeps them in a column of type
``SearchText``, and each database keeps its own full-text index of that column in step (``SearchIndex``, for
migrations). What matches is defined without any of them: every word of the query begins a word of the text
(``choose_condition``).
"""

from .conditions import choose_condition
from .index import SearchIndex, is_search_object
from .searched import Searched
from .text import SearchText, make_search_text
