"""Passwords, browser sessions and their cookies, CSRF, guards and permission checks."""

from .asking_browser import find_asking_browser, forget_asking_browser, mark_asking_browser
from .codes import CODE_DIGITS, CODE_PATTERN, hash_code, is_code, make_code
from .devices import choose_account_name, forget_device, list_account_keys, list_account_names, remember_device
from .guards import (
    FRESH_SECONDS,
    Guard,
    PasswordChangeRequired,
    PermissionMissing,
    ReauthenticationRequired,
    check_guards,
    enforce_guard,
    find_guard,
    public,
    require_fresh,
    requires,
)
from .owners import get_owner_column
from .passwords import (
    PASSWORD_MAX_LENGTH,
    HashingBusy,
    PasswordHasher,
    PasswordPolicy,
    WeakPassword,
    get_hasher,
    get_policy,
)
from .principal import Actor, Client, Principal, SignedInSession, SignedInUser
from .proof_of_work import ProofOfWorkRequired, make_challenge, requires_work
from .sealing import NotSealedByUs, is_sealed_by_current_key, seal, unseal
from .sessions import (
    CsrfFailed,
    end_browser_session,
    find_browser_token,
    is_our_page,
    make_csrf_token,
    protect_from_csrf,
    renew_browser_session,
    start_browser_session,
)
from .signatures import SessionCookies
from .stored_hashes import UnsupportedHash, parse_stored_hash
from .tokens import hash_token, make_token
