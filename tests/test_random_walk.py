"""People do things in random order, and nobody is shown too much."""

import os

from django.test import TransactionTestCase, tag

from tests.random_walk.walking import Outcome, plan, run, shorten

# `python -m tests.random_walk` sets these.
WALKS = int(os.environ.get("RANDOM_WALKS", "1"))
FIRST_SEED = int(os.environ.get("RANDOM_WALK_SEED", "26"))
STEPS = int(os.environ.get("RANDOM_WALK_STEPS", "60"))

# At the end of a walk, everyone looks at this share of the pages.
SHARE = float(os.environ.get("RANDOM_WALK_SHARE", "0.1"))


class RandomWalkTests(TransactionTestCase):
    @tag("G10")
    def test_nobody_is_shown_what_they_may_not_see(self):
        steps = 0
        pages = 0
        for seed in range(FIRST_SEED, FIRST_SEED + WALKS):
            outcome = run(plan(seed, STEPS), SHARE)
            if outcome.error is not None:
                self.fail(describe(seed, shorten(outcome, SHARE)))
            steps += len(outcome.walk.done)
            pages += outcome.walk.pages_opened
            if WALKS > 1:
                text = f"seed {seed}: {steps:,} steps and {pages:,} pages until now"
                print(text, flush=True)


def describe(seed: int, outcome: Outcome) -> str:
    lines = [f"walk {seed} fails: {outcome.error!r}", "The shortest way there:"]
    lines += [f"  {number}. {step}" for number, step in enumerate(outcome.walk.done, 1)]
    return "\n".join(lines)
