"""A random walk: people do things in random order, and nobody is shown too much.

`world` says in plain Python who may see what, independently of the access rule.
`steps` are what people do, `moves` are what happens to the whole database, `looking`
compares pages with the world, and `walking` puts them together. To walk for longer
than the tests do, run `python -m tests.random_walk 200`.
"""
