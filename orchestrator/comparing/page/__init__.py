"""The comparison of a sweep as one web page that needs no network."""
