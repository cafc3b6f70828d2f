"""One HTML page of a sweep, with its figures in it: no network, and readable without JavaScript."""
