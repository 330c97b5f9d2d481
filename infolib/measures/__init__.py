"""What the papers compute on models and data: tidy tables out of networks."""
