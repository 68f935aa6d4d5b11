"""The web side of the service and its records; never imports torch."""
