"""Dock widgets, one a task."""
