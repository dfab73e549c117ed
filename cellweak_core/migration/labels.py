"""From what an expert wrote beside each frame to what a network is to say of it."""

MODES = ("continuous", "discontinuous")
UNKNOWN = "unknown"
