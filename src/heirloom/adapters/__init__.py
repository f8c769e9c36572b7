"""The world outside, one vendor a file. Each stands behind a Protocol of core or a room."""
