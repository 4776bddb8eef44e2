"""useapi.net: Runway through a useapi account."""
