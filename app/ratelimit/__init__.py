"""Rate limits: sliding windows that are exact, decided in one round trip, and that survive their store."""

from __future__ import annotations

from .decision import Decision, Outcome
from .engine import Engine
from .plan import Charge, ChargeKind, Fallback, Limit, LimitError, Plan, compile_plan, parse_limits
from .storage_uri import StorageUriError, parse_storage_uri
from .subject import encode_subject, normalize_ip

__all__ = [
    "Charge",
    "ChargeKind",
    "Decision",
    "Engine",
    "Fallback",
    "Limit",
    "LimitError",
    "Outcome",
    "Plan",
    "StorageUriError",
    "compile_plan",
    "encode_subject",
    "normalize_ip",
    "parse_limits",
    "parse_storage_uri",
]
