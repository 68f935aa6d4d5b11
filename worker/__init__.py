"""The compute side of the service; never imports fastapi."""
