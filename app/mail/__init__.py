"""Mails: what they say in each language, and how they leave. It knows nothing of the outbox and of accounts."""

from .errors import MailError, MailRefused, MailUnavailable
from .rendering import TemplateFault, find_translations, render
from .samples import SAMPLES
from .site import Site, make_sender, make_site
from .transports import Transport, make_transport
