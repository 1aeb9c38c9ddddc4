"""What is connected: masks, pattern, topology."""
