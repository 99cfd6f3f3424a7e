"""What is to be computed, said for no device in particular."""
