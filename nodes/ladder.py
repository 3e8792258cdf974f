"""What Sample Until changes from try to try, and what it tells of the tries."""

import json

from ..svd_core.quality import search
from . import widgets

LADDERS = ["seed", "seed and bucket", "seed and start level"]


def check_ladder(ladder, goal) -> None:
    if ladder == LADDERS[2] and goal != search.GOALS[0]:
        raise ValueError(
            f"a lower start level gives more motion, the goal is {goal}; use the ladder seed, or seed and"
            " bucket"
        )


class Rungs:
    """What changes from try to try; try 0 is exactly what the user asked for."""

    def __init__(self, seed, tries, ladder, goal):
        check_ladder(ladder, goal)
        self.first, self.tries, self.ladder, self.goal = seed, tries, ladder, goal

    def seed(self, k):
        return (self.first + k) & 0xFFFF_FFFF_FFFF_FFFF

    def told(self, conditioning, k):
        """CONDITIONING with the motion bucket of try k"""
        if self.ladder != LADDERS[1] or k == 0:
            return conditioning
        return [
            (
                [context, details | {"motion_bucket_id": self.bucket(details["motion_bucket_id"], k)}]
                if "motion_bucket_id" in details
                else [context, details]
            )
            for context, details in conditioning
        ]

    def bucket(self, told, k):
        return search.bucket(float(told), k, tries=self.tries, side=self.goal)

    def started(self, latent, k):
        """LATENT with the start level of try k"""
        if self.ladder != LADDERS[2] or k == 0:
            return latent
        return {**latent, "start_level": search.level(widgets.start_level(latent), k)}


def as_json(found, wanted, rungs):
    tries = [
        {"seed": rungs.seed(k), "score": score, "met": wanted.met(score)}
        for k, score in enumerate(found.scores)
    ]
    asked = {"goal": wanted.side, "target": wanted.target, "of": wanted.of, "ladder": rungs.ladder}
    return json.dumps({"met": found.met, "seed": rungs.seed(found.best), **asked, "tries": tries}, indent=1)
