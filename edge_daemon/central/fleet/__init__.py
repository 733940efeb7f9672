"""What people ask of the whole fleet: how boxes do, results, agreement and drift, deeds."""
