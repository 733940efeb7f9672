"""What the technician's page and the fleet's page share: passwords, forms, headers, the look."""
