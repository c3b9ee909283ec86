"""Sweeps: many runs of a study from one file, planned before anything starts, executed by several
workers.
"""
