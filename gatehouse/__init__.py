"""What extensions import: the public face of the product, and all that it promises to them."""

from app import create_app
from app.clock import now
from app.config import Settings, load_settings
from app.database.types import ExactString, UtcDateTime
from app.environment import parse_bool, parse_choice, parse_int, parse_text, setting, split_list
from app.extending import FACE, Extension
from app.extensions import db, retried, transaction
from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.models import Base, User
from app.ratelimit import address, exempt, rate_limit
from app.schemas import Input, Output, PageQuery
from app.schemas.values import Flag, Instant, Text, Whole
from app.security import Actor, public, requires
from app.services import audit
from app.services.pages import InvalidCursor, Listing, Page, Sort
from app.utils import AppError, Conflict, Forbidden, InvalidInput, NotFound

__all__ = [
    "FACE", "Actor", "AppError", "Base", "Blueprint", "Conflict", "ExactString", "Extension", "Flag", "Forbidden",
    "Input", "Instant", "InvalidCursor", "InvalidInput", "Listing", "NotFound", "Output", "Page", "PageQuery",
    "Settings", "Sort", "Text", "User", "UtcDateTime", "Whole", "address", "audit", "create_app", "db", "exempt",
    "get_actor", "load_settings", "now", "parse_bool", "parse_choice", "parse_int", "parse_text", "public",
    "rate_limit", "requires", "retried", "setting", "split_list", "transaction",
]  # fmt: skip
