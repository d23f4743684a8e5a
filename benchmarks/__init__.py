"""Speed against what a user would use otherwise, side by side in one run."""
