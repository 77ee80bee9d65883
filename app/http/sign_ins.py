"""What is answered to whoever has signed in, in whatever way."""

from typing import Any

from app.security import remember_device, start_browser_session
from app.services.sessions import SignIn


def answer_sign_in(sign_in: SignIn, *, is_remembered: bool) -> dict[str, Any]:
    """Give the browser its session, know it again from now on, and return what ``SignInOutput`` dumps."""
    remember_device(sign_in.user.email)
    return {"user": sign_in.user, "csrf_token": start_browser_session(sign_in.token, is_remembered=is_remembered)}
