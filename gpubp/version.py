"""The version of this gpubp, which files tell beside what they hold."""

__version__ = "0.1.0"
