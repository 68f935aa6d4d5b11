"""The operators' pages: rendered here, live through htmx, with nothing fetched from elsewhere."""
