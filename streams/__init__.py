"""What moves: the Faust workers, their transport and journal, topics, the broker, the command line."""
