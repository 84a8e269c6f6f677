"""Hash lists shipped as data: the demonstration list and its trusted root."""
