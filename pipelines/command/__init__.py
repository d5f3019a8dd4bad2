"""The pipeline `command`: a command line of the user's own as a trial."""
