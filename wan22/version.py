"""The version of this package, where everything can read it."""

__version__ = "0.1.0"

SOFTWARE = f"wan22 {__version__}"
"""What a PNG says of what drew it."""
