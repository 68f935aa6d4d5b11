"""The HTTP endpoints; each one parses, makes one call and answers."""
