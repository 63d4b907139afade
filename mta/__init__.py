"""Configuration text for the site's MTA, made from the lists."""
