"""Statistics of method comparison and of drift; pure, on arrays of numbers."""
