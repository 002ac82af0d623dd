"""What the core asks of the world outside, cut by capability, batch first."""
