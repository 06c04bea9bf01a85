"""Renderings of a run folder: a page, JUnit, Markdown, and the index over all runs.

A report is built from the folder alone, so an old run can be rendered again at any time.
"""
