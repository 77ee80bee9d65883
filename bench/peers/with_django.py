"""The same work with Django's sessions and django-ratelimit, as their documentation advises for production.

    python -m bench.peers.with_django USERS SIGNED_IN    make the tables and users, print a Cookie header each
    granian ... bench.peers.with_django:application      serve

DATABASE_URL, REDIS_URL and LIMITS (separated by semicolons) say how.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

_url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    SECRET_KEY="pf9Wkove4IKEAXvy-cQkeDPhv9Cb3Ag-wyJILbq_dFwpf9Wkove4I",  # noqa: S106 - nobody's
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": _url.hostname,
            "PORT": _url.port,
            "USER": _url.username,
            "PASSWORD": unquote(_url.password or ""),
            "NAME": _url.path.lstrip("/"),
            "CONN_MAX_AGE": 600,
        }
    },
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["REDIS_URL"]}},
    SESSION_ENGINE="django.contrib.sessions.backends.cached_db",
    SESSION_COOKIE_SECURE=True,
    CSRF_COOKIE_SECURE=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - wants the settings
from django.test import Client  # noqa: E402 - likewise
from django_ratelimit.decorators import ratelimit  # noqa: E402 - likewise


def get_me(request: HttpRequest) -> JsonResponse:
    """Say who is signed in."""
    user = request.user
    if not user.is_authenticated:
        return JsonResponse({"error": "sign in first"}, status=401)
    return JsonResponse(
        {
            "id": user.id,
            "email": user.email,
            "username": user.username,
            "is_active": user.is_active,
            "date_joined": user.date_joined.isoformat(),
            "last_login": user.last_login.isoformat(),
        }
    )


view = get_me
for limit in os.environ["LIMITS"].split(";"):
    amount, _, period = limit.partition("/")
    view = ratelimit(key="ip", rate=f"{amount}/{period[0]}")(view)
urlpatterns = [path("users/me", view)]
application = get_wsgi_application()


def seed(users: int, signed_in: int) -> None:
    """Make the tables and users; print the Cookie header of each of the first ones."""
    call_command("migrate", verbosity=0)
    User.objects.bulk_create(
        User(username=f"user{number}", email=f"user{number}@example.com") for number in range(1, users + 1)
    )
    for user in User.objects.order_by("id")[:signed_in]:
        client = Client()
        client.force_login(user)
        print(f"sessionid={client.cookies['sessionid'].value}")


if __name__ == "__main__":
    seed(int(sys.argv[1]), int(sys.argv[2]))
