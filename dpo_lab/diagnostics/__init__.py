"""What is wrong with a run, and what to do about it: detectors of single failures, and the run doctor."""
