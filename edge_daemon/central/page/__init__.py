"""The fleet's page and its API: what people and programs see of the centre."""
