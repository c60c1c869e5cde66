"""Worlds in which the true reward is known, so that an aligned policy can be judged and not only its loss."""
