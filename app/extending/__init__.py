"""What others add to the product: an ``Extension`` says all of it, and an application has those that are listed."""

from .extension import FACE, Extension, OnUserDeletion
from .listed import Extensions
