"""Workflows of ComfyUI: what is drawn, what is run, and what they ask for as fields of ours."""
