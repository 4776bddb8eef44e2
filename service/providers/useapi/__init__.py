"""useapi.net: access to Runway through a useapi.net account."""
