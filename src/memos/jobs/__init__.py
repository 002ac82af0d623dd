"""Work for later: what it is, who does it, and how far it is."""
