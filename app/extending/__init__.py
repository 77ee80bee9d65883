"""What others add to the product: an ``Extension`` says all of it, and an application has those that are listed."""

from .checks import prepare_extensions
from .extension import FACE, Extension, OnUserDeletion
from .listed import Extensions, copy_json
from .loading import ExtensionsRefused
from .product import Product
from .values import list_setting_names, name_limit
