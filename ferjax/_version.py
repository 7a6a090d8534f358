"""The version of ferjax, on its own: what needs it does not import the package's face."""

__version__ = "0.1.0"
