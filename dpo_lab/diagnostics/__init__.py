"""What is wrong with a run, and what to do about it: detectors of single failures, and the run doctor."""

from dpo_lab.diagnostics.command import show_findings
from dpo_lab.diagnostics.doctor import diagnose
from dpo_lab.diagnostics.findings import Finding, alarms
from dpo_lab.diagnostics.static import check_setup

__all__ = ["Finding", "alarms", "check_setup", "diagnose", "show_findings"]
