"""From records to rows: projections, the projector that runs them, and how rows are read."""
