"""Scripts that are run by hand, seldom: none of them is part of the package."""
