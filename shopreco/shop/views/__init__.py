"""The pages: what is sold, how it is bought, and who the shopper is."""
