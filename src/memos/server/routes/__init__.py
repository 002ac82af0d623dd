"""The native API, a module per resource."""
