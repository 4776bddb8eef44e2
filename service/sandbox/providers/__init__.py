"""The emulated providers, one package each."""
