"""The tests; a package, so that workers can import the pipelines that stand in it."""
