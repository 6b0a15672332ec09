"""`iog bench`: what a click costs, beside a plain rendering of CVAT's own IOG function."""
