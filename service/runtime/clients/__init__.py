"""HTTP clients for webhooks and providers."""
