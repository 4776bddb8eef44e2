"""Parts that providers share: readers of untrusted JSON, input fields, requests, HTTP errors."""
