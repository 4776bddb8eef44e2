"""Infrastructure without business rules: settings, HTTP, logs, metrics and background tasks."""
