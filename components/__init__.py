"""What is studied: audio, networks and how they are trained. Knows neither Ray nor results."""
