"""METEOR 1.5 in Python and numpy."""

from nlg_metrics.metrics.meteor.metric import Meteor

__all__ = ["Meteor"]
