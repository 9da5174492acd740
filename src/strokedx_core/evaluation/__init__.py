"""Measuring masks against references, and pictures of both."""
