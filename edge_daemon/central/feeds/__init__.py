"""What leaves the centre: results for practice software, tables for analysis, training sets."""
