"""The report's figures as pictures: SVG that follows the theme of its page, and PNG."""
