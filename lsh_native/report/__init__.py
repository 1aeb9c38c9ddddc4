"""What came out, to look at: the final table, the figures, and one page that holds it all."""
