"""Whether a server is asked: the states of its circuit breaker, and the one table of what changes them."""

import enum
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REFUSALS_IN_A_ROW: Final = 3
REFUSALS_SECONDS: Final = 1.0


class State(enum.Enum):
    """How much a server is trusted to answer in time."""

    CLOSED = "closed"
    """Every call goes to it."""
    DOUBTED = "doubted"
    """It was silent, which is no proof: only patient calls go to it until it was tried with more patience."""
    OPEN = "open"
    """No call goes to it; it is probed."""
    ENDED = "ended"
    """The limiter is done with it."""


class Event(enum.Enum):
    """What was learnt about a server."""

    SILENCE = "silence"
    """No answer came within a budget. Only the kernel calls a server silent, never this process's own clock."""
    FAILURE = "failure"
    """A connection was refused or broke, the server was silent for long, or it refused three calls within a second."""
    ANSWER = "answer"
    """It answered the maintenance thread."""
    END = "end"
    """It is of no further interest."""


# What is not in the table changes nothing.
TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.CLOSED, Event.SILENCE): State.DOUBTED,
        (State.CLOSED, Event.FAILURE): State.OPEN,
        (State.DOUBTED, Event.FAILURE): State.OPEN,
        (State.DOUBTED, Event.ANSWER): State.CLOSED,
        (State.OPEN, Event.ANSWER): State.CLOSED,
        **{(state, Event.END): State.ENDED for state in (State.CLOSED, State.DOUBTED, State.OPEN)},
    }
)


class CircuitBreaker:
    """The state of one server. It is changed under the server's lock; reading it needs none."""

    def __init__(self) -> None:
        self._refused_at: deque[float] = deque(maxlen=REFUSALS_IN_A_ROW)
        self._enter(State.CLOSED)

    def _enter(self, state: State) -> None:
        self.state = state
        # Every request reads these: an attribute costs less than a comparison of states.
        self.is_open = state in {State.OPEN, State.ENDED}
        self.is_doubted = state is State.DOUBTED

    def admits(self, *, is_patient: bool) -> bool:
        """Whether a call may go to the server now; a patient one waits for an answer that is late."""
        return not self.is_open and (is_patient or not self.is_doubted)

    def record(self, event: Event) -> bool:
        """Go where the table leads from here; say whether that is another state."""
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return False
        if self.state is State.OPEN:
            self._refused_at.clear()
        self._enter(state)
        return True

    def count_refusal(self, now: float) -> bool:
        """Count a call that a reachable server refused; say whether there were so many at once that it is of no use."""
        self._refused_at.append(now)
        return len(self._refused_at) == REFUSALS_IN_A_ROW and now - self._refused_at[0] <= REFUSALS_SECONDS
