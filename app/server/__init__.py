"""The production server: gunicorn's parser and supervisor, with a drain that resets nobody.

``serve`` is in ``master``, so that asking ``is_draining`` loads no server. ADR 9 says what is changed, and why.
"""

from .draining import is_draining
