"""Importing files of organizations and files of people.

Modules whose names begin with `people` are about people. All other modules are about
organizations, or about both.
"""
