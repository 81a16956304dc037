"""Replace variables and tables with constants, and constants with variables."""
