"""Lanes nominate, one scorer decides, one packer cuts."""
