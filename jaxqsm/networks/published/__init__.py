"""Networks of the literature, one paper a file; sizes default to the published ones."""
