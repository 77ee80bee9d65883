"""TEMP: the limiter's Flask face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

View = TypeVar("View", bound="Callable[..., Any]")


class Limiter:
    """TEMP."""

    def init_app(self, app: Flask, settings: Any) -> None:
        """TEMP."""

    def is_degraded(self) -> bool:
        """TEMP."""
        return False

    def show(self, key: str) -> dict[str, int]:
        """TEMP."""
        return {}

    def clear(self, key: str) -> None:
        """TEMP."""


def address() -> str:
    """TEMP."""
    return ""


def rate_limit(limits: str, *, by: Any = address, failures_only: bool = False) -> Callable[[View], View]:
    """TEMP."""

    def decorate(view: View) -> View:
        return view

    return decorate


def exempt(view: View) -> View:
    """TEMP."""
    return view
