"""From what happened to a batch of memories."""
