"""What is known of models: the map, prices, capabilities, estimates, sampling."""
