"""Whether one run is better than another: paired tests, tables, pictures and the page."""
