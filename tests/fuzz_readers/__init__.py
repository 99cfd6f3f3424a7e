"""Fuzzing of what reads files: whatever the bytes are, the library's own error or a result."""
