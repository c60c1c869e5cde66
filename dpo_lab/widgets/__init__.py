"""Every interactive of the course, one file a topic."""

from dpo_lab.widgets.advantage_explorer import advantage_explorer
from dpo_lab.widgets.agreement_explorer import agreement_explorer
from dpo_lab.widgets.bradley_terry_explorer import optimum_explorer, preference_explorer
from dpo_lab.widgets.bug_explorer import bug_explorer
from dpo_lab.widgets.failure_browser import amplification_explorer, failure_browser
from dpo_lab.widgets.flashcards import flashcards
from dpo_lab.widgets.frontier_explorer import frontier_explorer
from dpo_lab.widgets.loss_explorer import loss_explorer
from dpo_lab.widgets.loss_picker import loss_picker
from dpo_lab.widgets.mock_interview import mock_interview
from dpo_lab.widgets.power_explorer import power_explorer
from dpo_lab.widgets.rating import rating_widget
from dpo_lab.widgets.review_browser import review_browser
from dpo_lab.widgets.schedule_explorer import schedule_explorer
from dpo_lab.widgets.token_mask_viewer import token_mask_viewer

__all__ = [
    "advantage_explorer",
    "agreement_explorer",
    "amplification_explorer",
    "bug_explorer",
    "failure_browser",
    "flashcards",
    "frontier_explorer",
    "loss_explorer",
    "loss_picker",
    "mock_interview",
    "optimum_explorer",
    "power_explorer",
    "preference_explorer",
    "rating_widget",
    "review_browser",
    "schedule_explorer",
    "token_mask_viewer",
]
