"""From a volume to a mask, with torch and nothing heavier."""
