"""Importing files of organizations and of people.

The modules about people begin with `people`; the others are about organizations, or
about both.
"""
