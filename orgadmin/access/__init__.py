"""The access rule, the role table, the groups, and the membership log.

Every other package of the app may import this one. It imports none of them.
"""
