"""Search engines of the web: one dialect each, one way to ask them."""
