"""Data: readers, splits and sources."""
