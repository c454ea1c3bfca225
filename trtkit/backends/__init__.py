"""VENDORS: one module a family, imported inside worker processes only. ``base`` alone may be imported anywhere."""
