# The driver's own exceptions are attributes of this module.
