"""How many guesses a text takes somebody who knows what people choose."""

import operator
import threading
from collections.abc import Sequence
from typing import Final

from zxcvbn import matching, scoring, zxcvbn

# The estimate of a long text's beginning is a lower bound for the whole; more would only take longer.
ESTIMATED_LENGTH: Final = 32
# The estimator tries every way to read symbols as letters (4 and @ as a, 1 and | as i …): of 20 such symbols it would
# make a second of work. No common password holds more than a few different ones.
_SYMBOLS: Final = frozenset("0123456789@([{<|!$%+")
_MAX_SYMBOLS: Final = 6
_CHEAP_MATCHERS: Final = (
    matching.dictionary_match,
    matching.reverse_dictionary_match,
    matching.spatial_match,
    matching.sequence_match,
    matching.regex_match,
    matching.date_match,
)
# The estimator keeps the words about the person in a module's global.
_estimator_lock = threading.Lock()


def _shorten(text: str) -> str:
    """Return the beginning of ``text`` that is cheap to estimate and no easier to guess than all of it."""
    begin = text[:ESTIMATED_LENGTH]
    kept = list(dict.fromkeys(char for char in begin if char in _SYMBOLS))[:_MAX_SYMBOLS]
    return "".join(char if char in kept or char not in _SYMBOLS else "~" for char in begin)


def estimate_guesses(text: str, known: Sequence[str] = ()) -> float:
    """Return a lower bound of the guesses that ``text`` takes somebody who knows the words ``known``."""
    begin, short = text[:ESTIMATED_LENGTH], _shorten(text)
    if not begin:
        return 0
    with _estimator_lock:
        guesses: float = zxcvbn(short, user_inputs=list(known), max_length=ESTIMATED_LENGTH)["guesses"]
        if short != begin:
            # What made it cheap hides rows of digits and walks over the keyboard; looking for those is cheap anyway.
            found = [match for find in _CHEAP_MATCHERS for match in find(begin)]
            found.sort(key=operator.itemgetter("i", "j"))
            guesses = min(guesses, scoring.most_guessable_match_sequence(begin, found)["guesses"])
    return guesses
