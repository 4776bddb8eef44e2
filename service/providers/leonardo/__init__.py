"""Leonardo.Ai: callbacks go to one URL of the whole account."""
