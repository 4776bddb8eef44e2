"""What one transaction reads, decides and writes."""
