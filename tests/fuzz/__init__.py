"""Random networks, recorded and run in every way there is, beside the plain path."""
