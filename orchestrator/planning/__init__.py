"""From a sweep file to a plan: pure, fast, and free of side effects on the store."""
