"""The access rule, the role table, the groups, and the membership log.

Everything imports this package. It imports nothing of the app.
"""
