"""Timelines: cuts of videos and audio as JSON documents; checked, rendered, and given to editors."""
