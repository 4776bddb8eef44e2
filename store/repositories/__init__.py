"""What the service asks of the store, one file per noun."""
