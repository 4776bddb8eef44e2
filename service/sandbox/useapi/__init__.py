"""useapi.net, emulated."""
