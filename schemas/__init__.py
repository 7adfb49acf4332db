"""What travels and what a model may see: XDM events, records, wire formats, feature specs, errors."""
