"""The pages of organizations and their contacts."""
