"""Rate limits: sliding windows that are exact, decided in one round trip, and that survive their store."""

from __future__ import annotations

from .decision import Decision, Outcome
from .engine import Engine
from .plan import Charge, ChargeKind, Fallback, Limit, LimitError, Limits, Plan, compile_plan, parse_limits
from .redis import StorageUri, StorageUriError, parse_storage_uri
from .subject import encode_subject, normalize_ip

__all__ = [
    "Charge",
    "ChargeKind",
    "Decision",
    "Engine",
    "Fallback",
    "Limit",
    "LimitError",
    "Limits",
    "Outcome",
    "Plan",
    "StorageUri",
    "StorageUriError",
    "compile_plan",
    "encode_subject",
    "normalize_ip",
    "parse_limits",
    "parse_storage_uri",
]
