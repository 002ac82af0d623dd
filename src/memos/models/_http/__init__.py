"""What the adapters that speak HTTP share: asking patiently, and mapping what goes wrong."""
