"""Where jobs run and where artifacts lie; never what a sweep is."""
