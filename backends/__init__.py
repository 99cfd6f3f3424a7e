"""Devices: everything here knows an array library; `gpubp.select` loads what is asked for."""
