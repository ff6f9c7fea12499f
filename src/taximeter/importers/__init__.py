"""What was recorded elsewhere, read into events."""
