"""What one transaction reads and writes beside the queries of one noun."""
