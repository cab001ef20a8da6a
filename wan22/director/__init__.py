"""What a director says, and whether the shot obeyed. It knows pixels and words, not networks."""
