"""Put above Oscar's apps: a list takes the place of the recommendations that Oscar keeps by hand."""
