"""Rate limits: sliding windows that are exact, decided in one round trip, and that survive their store."""

from .decision import Decision, Outcome
from .decorators import address, exempt, rate_limit
from .engine import Engine
from .errors import OutcomeOpen, RateLimited, RateLimitStoreAway
from .limiter import Limiter
from .plan import Charge, ChargeKind, Fallback, Limit, LimitError, Limits, Plan, compile_plan, parse_limits
from .redis import StorageUri, StorageUriError, parse_storage_uri
from .rules import By, Caller, NamedLimits, parse_role_limits
from .subject import encode_subject, normalize_ip
