"""What can be measured, one suite a file."""
