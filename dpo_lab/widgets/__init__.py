"""Every interactive of the course, one file a topic."""

from dpo_lab.widgets.loss_explorer import loss_explorer

__all__ = ["loss_explorer"]
