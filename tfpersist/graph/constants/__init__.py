"""Replace variables and tables by constants."""
