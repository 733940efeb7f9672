"""The technician's local page: results to look at, understand and act on.

Sees the store and the reference tables, never a stage, and asks nothing outside the box. One
module of `pages` for each page, one template beside it.
"""
