"""What leaves the house: streams, one row at a time."""
